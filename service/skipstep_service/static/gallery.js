// Jobs of this key, the newest first, a page at a time: open one, or delete it.

import { deleteJob, listJobs } from './api.js'
import { byId, el } from './dom.js'
import { ENDED } from './events.js'
import { load } from './media.js'
import { moment, STATES, titleOf } from './words.js'

const list = byId('gallery')
const older = byId('older')
const note = byId('gallery-note')
let next = null
let asked = 0 // times; only the answer to the last is shown

/** Connect the buttons. */
export function listen({ onError }) {
  const guarded = (work) => () => work().catch(onError)
  older.addEventListener('click', guarded(showOlder))
  byId('refresh').addEventListener('click', guarded(refresh))
  list.addEventListener('click', (event) => {
    const button = event.target.closest('button[data-delete]')
    if (button) remove(button.dataset.delete).catch(onError)
  })
}

/** The first page, anew. */
export async function refresh() {
  asked += 1
  const mine = asked
  const page = await listJobs()
  if (mine !== asked) return
  list.replaceChildren(...page.jobs.map(card))
  keepNext(page)
}

async function showOlder() {
  const mine = asked
  const page = await listJobs({ after: next })
  if (mine !== asked) return
  const cards = page.jobs.map(card)
  list.append(...cards)
  keepNext(page)
  cards[0]?.querySelector('a').focus()
}

function keepNext(page) {
  next = page.next
  older.hidden = next === null
  tell()
}

function tell() {
  const count = list.children.length
  note.textContent = count === 0 ? 'No jobs yet.' : `${count} ${count === 1 ? 'job' : 'jobs'} shown${next ? ', there are older ones' : ''}.`
}

async function remove(id) {
  if (!window.confirm('Delete this job and its files?')) return
  await deleteJob(id)
  const gone = byId(`card-${id}`)
  const near = gone.nextElementSibling ?? gone.previousElementSibling
  gone.remove()
  tell()
  const focused = near?.querySelector('a') ?? byId('gallery-title')
  focused.focus()
  list.dispatchEvent(new CustomEvent('deleted', { detail: id }))
}

function card(job) {
  const picture = el('span', { class: 'thumb', 'aria-hidden': 'true' })
  const title = titleOf(job)
  const made = el(
    'li', { id: `card-${job.id}`, class: 'job-card' },
    el('a', { href: `#${job.id}` }, picture, el('span', { class: 'title' }, title)),
    el('span', { class: `badge ${job.status}` }, STATES[job.status]),
    el('time', { datetime: job.created_at, class: 'hint' }, moment(job.created_at)),
    ENDED.includes(job.status)
      ? el('button', { type: 'button', class: 'quiet', 'data-delete': job.id, 'aria-label': `Delete: ${title}` }, 'Delete')
      : null,
  )
  const [first] = job.outputs
  if (first) seen.observe(Object.assign(picture, { output: first }))
  return made
}

// thumbnails are fetched when they come into view: each is a whole file
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue
    seen.unobserve(target)
    showThumb(target).catch(() => {}) // it may have been deleted meanwhile
  }
}, { rootMargin: '200px' })

async function showThumb(holder) {
  const { element, free } = await load(holder.output, { name: '' })
  element.tabIndex = -1
  holder.append(element)
  // what has been loaded stays; of a clip that is its first frame
  if (element instanceof HTMLVideoElement && element.readyState < 2) element.addEventListener('loadeddata', free, { once: true })
  else free()
}
