// Elements, made in one expression.

export const byId = (id) => document.getElementById(id)

/** An element with attributes, listeners (onclick) and children; null and false are left out. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value)
    else made.setAttribute(name, value === true ? '' : value)
  }
  made.append(...children.filter((child) => child !== null && child !== false))
  return made
}

/** Options of a <select>; `groups` maps a label to [value, text] pairs. */
export function fillSelect(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => el('option', { value }, text)))
}
