// Figures, states and errors in words.

export const STATES = {
  queued: 'Waiting',
  running: 'Running',
  canceling: 'Canceling',
  succeeded: 'Done',
  failed: 'Failed',
  expired: 'Not done in time',
  canceled: 'Canceled',
}

export function seconds(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return 'not measured'
  if (milliseconds < 1000) return `${milliseconds.toPrecision(3)} ms`
  if (milliseconds < 120_000) return `${(milliseconds / 1000).toFixed(2)} s`
  return `${Math.floor(milliseconds / 60_000)} min ${Math.round((milliseconds % 60_000) / 1000)} s`
}

export const soon = (s) => (s < 1 ? 'less than a second' : s < 90 ? `about ${Math.round(s)} s` : `about ${Math.round(s / 60)} min`)

export const moment = (text) => new Date(text).toLocaleString(undefined, { month: 'short', day: 'numeric', hour: 'numeric', minute: '2-digit' })

/** None where both pictures are equal: their PSNR is infinite. */
export const decibels = (value) => (value === null || value === undefined ? '∞ (equal)' : `${value.toFixed(2)} dB`)

export const bytes = (count) => (count < 1024 ** 2 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 1024 ** 2).toFixed(1)} MiB`)

export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`

/** What went wrong, and what can be done. */
export function inWords(error) {
  const said = sentence(error.message ?? String(error))
  const again = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : ''
  if (error.status === 401) return `The server asks for an API key: ${error.message}. Enter it above.`
  if (error.status === 403) return `This API key may not do that: ${error.message}.`
  if (error.status === 413) return 'The request is too large; choose a smaller picture.'
  return said + again
}

/** What a job is called. */
export function titleOf(job) {
  const prompt = job.request.prompt?.trim()
  if (prompt) return prompt
  return job.kind === 'video' ? 'Clip from a picture' : 'Picture without a prompt'
}

/** How a job was sped up. */
export function speedOf(request) {
  const { preset, plan, cache } = request.acceleration ?? {}
  if (plan) return `plan ${plan}`
  if (cache) return `interval ${cache.interval}, branch ${cache.branch}, ${cache.forecast}`
  return `preset ${preset ?? 'balanced'}`
}
