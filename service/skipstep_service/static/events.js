// A job's events up to its end, over connections that may be cut.
// EventSource cannot send the Authorization header, so the stream is read with fetch().

import { ApiError, followJob, getJob, pause } from './api.js'

export const ENDED = ['succeeded', 'failed', 'expired', 'canceled']
const POLL_MS = 1000

/** Calls `on(event)` with { id, event, data } for each event; resolves when the job has ended or the signal aborts. */
export async function follow(id, on, { signal, onCut = () => {} }) {
  let last = null
  for (let failed = 0; !signal.aborted; failed += 1) {
    try {
      const headers = last === null ? {} : { 'Last-Event-ID': last }
      const answer = await followJob(id, { headers, signal })
      for await (const event of parsed(answer.body)) {
        failed = 0
        last = event.id ?? last
        on(event)
        if (event.event === 'status' && ENDED.includes(event.data.status)) return
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof ApiError && error.status === 404) return poll(id, on, signal)
      if (error instanceof ApiError && ![0, 429, 500, 502, 503, 504].includes(error.status)) throw error
    }
    // the stream ended without the job's end, or was cut
    if (failed > 0) onCut()
    await pause(Math.min(250 * 2 ** failed, 8000))
  }
}

/** Another process of the server has the job: its state is all that can be asked for. */
async function poll(id, on, signal) {
  let told = null
  while (!signal.aborted) {
    const job = await getJob(id)
    if (job.status !== told) on({ id: null, event: 'status', data: { status: job.status } })
    told = job.status
    if (ENDED.includes(told)) return
    await pause(POLL_MS)
  }
}

/** Events of a byte stream (WHATWG HTML, 9.2). */
async function* parsed(stream) {
  let fields = {}
  for await (const line of lines(stream)) {
    if (line === '') {
      if (fields.data !== undefined) {
        yield { id: fields.id ?? null, event: fields.event ?? 'message', data: JSON.parse(fields.data) }
      }
      fields = {}
    } else if (!line.startsWith(':')) {
      const [name, ...rest] = line.split(':')
      const value = rest.join(':').replace(/^ /, '')
      fields[name] = name === 'data' && fields.data !== undefined ? `${fields.data}\n${value}` : value
    }
  }
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  try {
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return
      const parts = (rest + value).split(/\r\n|\n|\r(?!$)/)
      rest = parts.pop()
      yield* parts
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}
