// Passes as a strip: tall and filled with an F for a full pass, short and outlined with an r for a reuse pass.

import { el } from './dom.js'

const WORDS = { F: 'full pass', r: 'reuse pass' }

/** A strip that grows: `add(letter)`, of `total` passes if that is known. */
export function newStrip(label) {
  const cells = el('span', { class: 'cells' })
  const count = el('span', { class: 'count' })
  const element = el('div', { class: 'strip', role: 'img' }, el('span', { class: 'strip-name' }, label), cells, count)
  let passes = ''

  function describe(total) {
    const full = passes.split('F').length - 1
    const of = total && total > passes.length ? ` of ${total}` : ''
    count.textContent = `${full} full + ${passes.length - full} reuse${of}`
    element.setAttribute('aria-label', `${label}: ${full} full and ${passes.length - full} reuse passes${of}`)
  }

  function add(letter, total = null) {
    passes += letter
    cells.append(el('span', { class: letter === 'F' ? 'full' : 'reuse', title: WORDS[letter] }, letter))
    describe(total)
  }

  function show(text) {
    passes = ''
    cells.replaceChildren()
    for (const letter of text) add(letter)
    describe(null)
  }

  describe(null)
  return { element, add, show, get passes() { return passes } }
}

export function legend() {
  const entry = (kind, letter, text) =>
    el('span', {}, el('span', { class: 'cells', 'aria-hidden': 'true' }, el('span', { class: kind }, letter)), text)
  return el('p', { class: 'legend hint' },
    entry('full', 'F', 'full pass: the whole UNet'), entry('reuse', 'r', 'reuse pass: its shallow blocks'))
}
