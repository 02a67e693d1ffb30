// The page: the form makes a job, the address names the one that is shown, and the gallery has the others.

import { acceleration, ApiError, createJob, getJob, keepKey, key, models, promptPresets } from './api.js'
import { byId, el } from './dom.js'
import { ENDED, follow } from './events.js'
import * as form from './form.js'
import * as gallery from './gallery.js'
import { newProgress } from './progress.js'
import { showResult } from './result.js'
import { inWords, sentence, STATES, titleOf } from './words.js'

const holder = byId('job')
let shown = { id: null, stop: () => {}, free: () => {} }

const say = (text) => { byId('status').textContent = text }

function showProblem(error) {
  console.info('refused:', error)
  byId('problem').textContent = inWords(error)
  byId('problem').hidden = false
  if (error.status === 401) {
    byId('key-box').open = true
    byId('key').focus()
  }
}

const clearProblem = () => { byId('problem').hidden = true; byId('problem').textContent = '' }

async function connect() {
  byId('key').value = key()
  try {
    const [{ models: offered }, ways, { presets }] = await Promise.all([models(), acceleration(), promptPresets()])
    form.offer(offered, ways, presets)
    clearProblem()
    await gallery.refresh()
    say('Nothing has been asked for yet.')
    await openFromAddress()
  } catch (error) {
    showProblem(error)
  }
}

async function submit(body) {
  const button = byId('generate')
  if (button.getAttribute('aria-disabled')) return
  button.setAttribute('aria-disabled', 'true')
  clearProblem()
  say('Sending.')
  try {
    const job = await createJob(body)
    history.pushState(null, '', `#${job.id}`)
    await open(job)
    byId('job-title').focus()
    gallery.refresh().catch(showProblem)
  } catch (error) {
    say('The job was not accepted.')
    showProblem(error)
    const isMarked = error instanceof ApiError && form.markRefused(error.details?.problems ?? [])
    if (!isMarked && error.status !== 401) byId('problem').focus()
  } finally {
    button.removeAttribute('aria-disabled')
  }
}

async function openFromAddress() {
  const id = location.hash.slice(1)
  if (!id.startsWith('job_') || id === shown.id) return
  try {
    await open(await getJob(id))
  } catch (error) {
    showProblem(error)
  }
}

function close() {
  shown.stop()
  shown.free()
  shown = { id: null, stop: () => {}, free: () => {} }
  holder.replaceChildren()
  byId('job-title').textContent = 'Result'
}

/** Show a job: what it made, or how it gets on until it has ended. */
async function open(job) {
  close()
  byId('job-title').textContent = titleOf(job)
  const stopping = new AbortController()
  shown = { id: job.id, stop: () => stopping.abort(), free: () => {} }
  if (ENDED.includes(job.status)) return showEnd(job)
  say(sentence(STATES[job.status]))
  const progress = newProgress(job, holder, { say, onError: showProblem })
  const stop = shown.stop
  shown.stop = () => { stop(); progress.stop() }
  watch(job.id, progress, stopping.signal).catch(showProblem)
}

async function watch(id, progress, signal) {
  try {
    await follow(id, progress.on, { signal, onCut: () => say('The connection was cut; trying again.') })
  } finally {
    progress.stop()
  }
  if (signal.aborted) return
  const hadFocus = document.activeElement === progress.cancel
  const job = await getJob(id)
  await showEnd(job)
  if (hadFocus) byId('job-title').focus()
  await gallery.refresh()
}

async function showEnd(job) {
  const reuse = el('button', { type: 'button', class: 'quiet', onclick: () => { form.enter(job.request); byId('work').focus() } },
    'Use these settings')
  if (job.status !== 'succeeded') {
    say(job.error ? `${STATES[job.status]}: ${sentence(job.error.message)}` : `${STATES[job.status]}.`)
    holder.replaceChildren(el('div', { class: 'actions' }, reuse))
    return
  }
  const parts = el('div', { class: 'result' })
  const free = await showResult(job, parts)
  if (shown.id !== job.id) return free()
  shown.free = free
  holder.replaceChildren(parts, el('div', { class: 'actions' }, reuse))
  say(`Done: ${job.outputs.length} ${job.outputs.length === 1 ? 'file' : 'files'}.`)
}

byId('key-form').addEventListener('submit', (event) => {
  event.preventDefault()
  keepKey(byId('key').value.trim())
  close() // the job that is shown may be another key's
  say('Connecting with this key.')
  connect()
})
byId('gallery').addEventListener('deleted', ({ detail }) => {
  if (detail !== shown.id) return
  close()
  history.replaceState(null, '', location.pathname)
  say('The job was deleted.')
})
addEventListener('hashchange', async () => {
  if (!location.hash.startsWith('#job_')) return
  await openFromAddress()
  byId('job-title').focus()
})
form.listen(submit)
gallery.listen({ onError: showProblem })
connect()
