// Baseline beside cached, of one seed: one lies over the other, and a slider moves the line between them.

import { el } from './dom.js'
import { decibels, seconds } from './words.js'

/** `plain` and `made` are <img> or <video>. */
export function comparison(plain, made, { label, figures, times }) {
  plain.classList.add('under')
  made.classList.add('over')
  const slider = el('input', {
    type: 'range', min: 0, max: 100, value: 50, step: 1, 'aria-label': `${label}: share that shows the baseline`,
  })
  const stage = el(
    'div', { class: 'stage' }, plain, made, slider,
    el('span', { class: 'divider', 'aria-hidden': 'true' }),
    el('span', { class: 'side left', 'aria-hidden': 'true' }, 'Baseline'),
    el('span', { class: 'side right', 'aria-hidden': 'true' }, 'Cached'),
  )

  function move() {
    stage.style.setProperty('--cut', `${slider.value}%`)
    slider.setAttribute('aria-valuetext', `${slider.value} % baseline, ${100 - slider.value} % cached`)
  }
  slider.addEventListener('input', move)
  move()
  return el(
    'div', { class: 'comparison' }, stage,
    made instanceof HTMLVideoElement ? player(plain, made) : null,
    figures ? verdict(figures, times) : null,
  )
}

/** Both clips at the same frame. */
function player(plain, made) {
  const button = el('button', { type: 'button', class: 'quiet', onclick: toggle }, 'Play both')
  for (const clip of [plain, made]) Object.assign(clip, { loop: true, muted: true, controls: false })

  function toggle() {
    if (made.paused) {
      plain.currentTime = made.currentTime
      plain.play()
      made.play()
    } else {
      plain.pause()
      made.pause()
      plain.currentTime = made.currentTime
    }
    button.textContent = made.paused ? 'Play both' : 'Pause both'
  }
  return button
}

/** The figures that answer: how much sooner, and how alike. */
function verdict(figures, times) {
  const tile = (name, value, more) =>
    el('div', { class: 'tile' }, el('dt', {}, name), el('dd', {}, el('strong', {}, value), more ? el('small', {}, more) : null))
  return el(
    'dl', { class: 'tiles' },
    tile('Speed-up', figures.loop_speedup.toFixed(2), 'baseline time ÷ cached time'),
    tile('Sampling time', seconds(times.cached), `baseline: ${seconds(figures.baseline_loop_ms)}`),
    tile('PSNR', decibels(figures.psnr_db), 'higher is more alike'),
    tile('SSIM', figures.ssim.toFixed(4), '1 is equal'),
  )
}
