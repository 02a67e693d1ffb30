// Files that a job made as elements. They cannot send the key themselves, so each is fetched as a blob.

import { call, pause } from './api.js'
import { el } from './dom.js'

const LOADED = ['load', 'loadedmetadata', 'error']
const PATIENCE_MS = 3000 // then it is shown as it is, and loads in sight

const isClip = (output) => output.media_type.startsWith('video/')

/**
 * A loaded <img> or <video>, and what frees its file: before it has loaded that would be an error in the console.
 * One that the browser cannot show is given all the same, as it can be downloaded.
 */
export async function load(output, { name, controls = false }) {
  const blob = await (await call(output.url.replace(/^\//, ''))).blob()
  const address = URL.createObjectURL(new Blob([blob], { type: output.media_type }))
  const element = isClip(output)
    ? el('video', { controls, loop: true, playsinline: true, preload: 'auto', 'aria-label': name || null })
    : el('img', { alt: name })
  element.muted = true
  const loaded = new Promise((done) => {
    for (const event of LOADED) element.addEventListener(event, done, { once: true })
  })
  element.src = address
  await Promise.race([loaded, pause(PATIENCE_MS)])
  return { element, free: () => URL.revokeObjectURL(address) }
}
