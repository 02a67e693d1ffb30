// Calls of the API: with the key, in its error envelope, and once only where it changes something.

const STORED = 'skipstep-key'
const TRIES = 4

/** An answer that is no success, or none at all (status 0). */
export class ApiError extends Error {
  constructor(status, { code, message, details = {} }, retryAfter = null) {
    super(message)
    Object.assign(this, { status, code, details, retryAfter })
  }
}

export const key = () => sessionStorage.getItem(STORED) ?? ''

export function keepKey(text) {
  if (text) sessionStorage.setItem(STORED, text)
  else sessionStorage.removeItem(STORED)
}

/** fetch() with the key; anything but a success throws an ApiError. */
export async function call(path, options = {}) {
  const headers = new Headers(options.headers)
  if (key()) headers.set('Authorization', `Bearer ${key()}`)
  let answer
  try {
    answer = await fetch(path, { ...options, headers })
  } catch (error) {
    if (error.name === 'AbortError') throw error
    throw new ApiError(0, { code: 'unreachable', message: 'the server cannot be reached' })
  }
  if (answer.ok) return answer
  throw await refusal(answer)
}

async function refusal(answer) {
  const retryAfter = Number(answer.headers.get('Retry-After')) || null
  const unknown = { code: 'http_error', message: `the server answered ${answer.status}` }
  const body = await answer.json().catch(() => null)
  return new ApiError(answer.status, body?.error ?? unknown, retryAfter)
}

const json = async (path, options) => (await call(path, options)).json()

/**
 * Have a job accepted. One Idempotency-Key for all tries: where an answer was lost, the next try is answered with the
 * job that the first has made.
 */
export async function createJob(body, { wait = pause } = {}) {
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': newKey() }
  const sent = JSON.stringify(body)
  for (let tried = 1; ; tried += 1) {
    try {
      return await json('v1/jobs', { method: 'POST', headers, body: sent })
    } catch (error) {
      if (error.status !== 0 || tried === TRIES) throw error
      await wait(250 * 2 ** tried)
    }
  }
}

/** 128 random bits; crypto.randomUUID is missing on http:// addresses other than localhost. */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

export const pause = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds) })

const of = (id) => `v1/jobs/${encodeURIComponent(id)}`

export const models = () => json('v1/models')
export const promptPresets = () => json('v1/prompt/presets')
export const acceleration = () => json('v1/acceleration')
export const getJob = (id) => json(of(id))
export const cancelJob = (id) => json(`${of(id)}/cancel`, { method: 'POST' })
export const deleteJob = (id) => call(of(id), { method: 'DELETE' })
export const followJob = (id, options) => call(`${of(id)}/events`, options)

export function listJobs({ after = null, limit = 12 } = {}) {
  const query = new URLSearchParams({ limit, ...(after ? { after } : {}) })
  return json(`v1/jobs?${query}`)
}
