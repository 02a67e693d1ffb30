// A job that waits or runs: its place, its passes, its previews, and a button to cancel it.

import { cancelJob, getJob } from './api.js'
import { el } from './dom.js'
import { legend, newStrip } from './strip.js'
import { soon } from './words.js'

const PLACE_MS = 1500 // between two questions for the place in the queue
const QUARTERS = 4 // at which a screen reader is told

/** Shows a job in `holder`; `say` announces. Returns what events are given to. */
export function newProgress(job, holder, { say, onError }) {
  const count = job.request.n ?? 1
  const strips = Array.from({ length: count }, (_, i) => newStrip(count > 1 ? `Picture ${i + 1}` : 'Passes'))
  const pictures = Array.from({ length: count }, (_, i) =>
    el('img', { class: 'preview', alt: `Preview of ${count > 1 ? `picture ${i + 1}` : 'the picture'}`, hidden: true }))
  const bar = el('progress', { 'aria-label': 'Progress of the job', max: 1, value: 0 })
  const cancel = el('button', { type: 'button', class: 'quiet', onclick: ask }, 'Cancel')
  const done = Array(count).fill(0)
  let timer = null
  let quarter = 0

  async function ask() {
    cancel.setAttribute('aria-disabled', 'true')
    try {
      await cancelJob(job.id)
      say('Canceling; the pass that runs is the last.')
    } catch (error) {
      cancel.removeAttribute('aria-disabled')
      onError(error)
    }
  }

  async function tellPlace() {
    const now = await getJob(job.id).catch(() => null)
    if (timer === null || now === null) return
    if (now.status !== 'queued') return stopAsking()
    const ahead = now.position === 1 ? '1 job goes' : `${now.position ?? 0} jobs go`
    const eta = now.eta_s ? `; done in ${soon(now.eta_s)}` : ''
    say(now.position ? `Waiting: ${ahead} before this one${eta}.` : `Waiting: next in line${eta}.`)
  }

  function stopAsking() {
    clearInterval(timer)
    timer = null
  }

  function onStatus({ status }) {
    if (status === 'queued') {
      if (timer === null) timer = setInterval(tellPlace, PLACE_MS)
      return say(job.request.expand ? 'Expanding the prompt.' : 'Waiting for its turn.')
    }
    stopAsking()
    if (status === 'running') say(job.request.compare ? 'Running, the baseline first: it is not shown here.' : 'Running.')
  }

  function onPass({ image, evaluation, evaluations, pass }) {
    if (evaluation === 0 && strips[image].passes) strips[image].show('') // a second attempt
    strips[image].add(pass === 'full' ? 'F' : 'r', evaluations)
    done[image] = (evaluation + 1) / evaluations
    const share = done.reduce((sum, one) => sum + one, 0) / count
    bar.value = share
    if (Math.floor(share * QUARTERS) > quarter && share < 1) {
      quarter = Math.floor(share * QUARTERS)
      say(`Running: ${Math.round(share * 100)} % of the passes.`)
    } else if (share === 1) say('Decoding and measuring.')
  }

  function onExpansion({ prompt, reason }) {
    say(reason ? 'The prompt stays as it is.' : `The prompt is expanded: ${prompt}.`)
  }

  function onPreview({ image, media_type: type, data }) {
    pictures[image].src = `data:${type};base64,${data}`
    pictures[image].hidden = false
  }

  holder.replaceChildren(
    el('div', { class: 'progress' }, el('div', { class: 'bar' }, bar, cancel), ...strips.map(({ element }) => element), legend(),
      el('div', { class: 'previews' }, ...pictures)),
  )
  if (job.status === 'canceling') cancel.setAttribute('aria-disabled', 'true')
  const listeners = { status: onStatus, expansion: onExpansion, progress: onPass, preview: onPreview }
  return {
    on: ({ event, data }) => listeners[event]?.(data),
    stop: stopAsking,
    cancel,
  }
}
