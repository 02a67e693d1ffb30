// What a job made: its pictures or its clip, what really ran, and a download; with the baseline, both compared.

import { comparison } from './compare.js'
import { el } from './dom.js'
import { load } from './media.js'
import { legend, newStrip } from './strip.js'
import { bytes, seconds, speedOf, titleOf } from './words.js'

/** The media of a finished job in `holder`; resolves to a function that frees them. */
export async function showResult(job, holder) {
  const loaded = await Promise.allSettled(job.outputs.map((output) =>
    load(output, { name: `${isBaseline(output) ? 'Baseline' : 'Result'}: ${titleOf(job)}`, controls: true })))
  const free = () => loaded.forEach(({ value }) => value?.free())
  const lost = loaded.find(({ status }) => status === 'rejected')
  if (lost) {
    free()
    throw lost.reason
  }
  const media = new Map(job.outputs.map(({ name }, index) => [name, loaded[index].value.element]))
  const reports = job.report?.images ?? []
  const made = job.outputs.filter((output) => !isBaseline(output))
  holder.replaceChildren(
    ...[expanded(job)].filter(Boolean),
    ...made.map((output, index) => one({ job, output, media, report: reports[index] ?? {}, index, count: made.length })),
    el('details', { class: 'ran' }, el('summary', {}, 'What really ran'), facts(jobFacts(job))),
  )
  return free
}

/** The prompt that was drawn, or why it is the one that was asked for. */
function expanded({ expansion }) {
  if (!expansion) return null
  const told = expansion.reason ? `The prompt is as it was: ${expansion.reason}.` : expansion.prompt
  return el('p', { class: 'expanded' }, el('strong', {}, 'Expanded prompt: '), told)
}

const isBaseline = ({ name }) => name.includes('-baseline.')

function one({ job, output, media, report, index, count }) {
  const label = count > 1 ? `Picture ${index + 1}` : job.kind === 'video' ? 'Clip' : 'Picture'
  const plain = media.get(output.name.replace(/\.(\w+)$/, '-baseline.$1'))
  const made = media.get(output.name)
  const strip = newStrip('Passes')
  if (report.passes) strip.show(report.passes)
  return el(
    'article', { class: 'made', 'aria-label': label },
    plain
      ? comparison(plain, made, { label, figures: report.comparison, times: { cached: report.loop_ms } })
      : el('div', { class: 'stage' }, made),
    report.passes ? el('div', {}, strip.element, legend()) : null,
    facts(pictureFacts(report)),
    el('div', { class: 'actions' },
      el('a', { class: 'button', href: made.src, download: `${job.id}-${output.name}` }, `Download ${label.toLowerCase()} (${bytes(output.bytes)})`),
      plain ? el('a', { class: 'button quiet', href: plain.src, download: `${job.id}-baseline-${output.name}` }, 'Download baseline') : null),
  )
}

const facts = (pairs) => el('dl', { class: 'facts' }, ...pairs
  .filter(([, value]) => value !== undefined && value !== null && value !== false)
  .map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, String(value)))))

function pictureFacts(report) {
  return [
    ['Seed', report.seed],
    ['Size', report.width && `${report.width} × ${report.height}`],
    ['Sampling', report.loop_ms && !report.comparison && seconds(report.loop_ms)],
    ['In all', report.total_ms && seconds(report.total_ms)],
    ['FLOP ceiling', report.flop_ceiling?.toFixed(2)],
  ]
}

function jobFacts(job) {
  const { request, report } = job
  const cache = report?.images?.[0]?.cache
  return [
    ['Model', request.model],
    ['Acceleration', speedOf(request)],
    ['Cache', cache && `interval ${cache.interval}, branch ${cache.branch}, forecast ${cache.forecast}`],
    ['Sampler', request.sampler],
    ['Steps', request.steps],
    ['Pictures in a shared pass', report?.batch],
    ['Waited', report && seconds(report.queue_ms)],
    ['Ran', report && seconds(report.run_ms)],
    ['Writing the files', report && seconds(report.finish_ms)],
    ['Attempts', job.attempts],
    ['Job', job.id],
  ]
}
