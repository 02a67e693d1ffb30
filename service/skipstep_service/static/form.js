// The form: what the server offers in its lists, what was entered as the body of a job, and the way back.

import { byId, el, fillSelect } from './dom.js'

const MAX_FILE = 12 * 1024 ** 2 // bytes; base64 makes four of three, and the server takes 16 MiB of it
const USUAL_STEPS = { image: 30, video: 25 }
const PRESETS = {
  lossless: 'Every pass is full: the baseline itself.',
  quality: 'A full pass for about every 2 evaluations.',
  balanced: 'A full pass for about every 3 evaluations.',
  fast: 'A full pass for about every 5 evaluations.',
}
const NUMBERS = {
  image: ['steps', 'width', 'height', 'seed', 'n', 'guidance_scale', 'strength'],
  video: ['steps', 'width', 'height', 'seed', 'frames', 'fps', 'motion'],
}

const form = byId('form')
let models = []
let picture = null // as a data: address

const kind = () => models.find(({ name }) => name === form.model.value)?.kind ?? 'image'
const speed = () => form.elements.speed.value

/** Fill the lists. */
export function offer(offered, ways, expansions) {
  models = offered
  const group = (label, of) => {
    const options = models.filter((model) => model.kind === of).map(({ name }) => el('option', { value: name }, name))
    return options.length ? el('optgroup', { label }, ...options) : null
  }
  form.model.replaceChildren(...[group('Pictures', 'image'), group('Clips', 'video')].filter(Boolean))
  fillSelect(byId('sampler'), ways.samplers.map((name) => [name, name]))
  fillSelect(byId('preset'), ways.presets.map((name) => [name, name]))
  fillSelect(byId('plan'), ways.plans.map((name) => [name, name]))
  byId('preset').value = ways.usual
  fillSelect(byId('expand'), [['', 'no: draw it as it is'], ...expansions.map(({ name, title }) => [name, title])])
  byId('expand-field').hidden = expansions.length === 0
  byId('speed-plan').disabled = ways.plans.length === 0
  byId('speed-plan').parentElement.title = ways.plans.length ? '' : 'This server has no plans'
  showKind()
  showSpeed()
  showPreviews()
}

export function listen(onSubmit) {
  form.model.addEventListener('change', () => { form.steps.value = USUAL_STEPS[kind()]; showKind() })
  form.addEventListener('change', (event) => { if (event.target.name === 'speed' || event.target.id === 'preset') showSpeed() })
  form.addEventListener('input', (event) => event.target.removeAttribute('aria-invalid'))
  byId('image').addEventListener('change', readPicture)
  byId('drop-picture').addEventListener('click', () => { dropPicture(); byId('image').focus() })
  form.compare.addEventListener('change', showPreviews)
  byId('random').addEventListener('click', () => { form.seed.value = crypto.getRandomValues(new Uint32Array(1))[0] })
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    onSubmit(body())
  })
}

/** Show what this kind of model needs. */
function showKind() {
  const now = kind()
  for (const part of form.querySelectorAll('[data-for]')) {
    part.hidden = part.dataset.for !== now
    for (const input of [part, ...part.querySelectorAll('input, select, textarea')]) input.disabled = part.hidden
  }
  byId('image').required = now === 'video' && picture === null
  byId('strength-field').hidden = now === 'video' || picture === null
  const model = models.find(({ name }) => name === form.model.value)
  form.guidance_scale.placeholder = model ? `${model.guidance_scale} (usual)` : ''
}

function showSpeed() {
  for (const part of form.querySelectorAll('[data-speed]')) {
    part.hidden = part.dataset.speed !== speed()
    for (const input of part.querySelectorAll('input, select')) input.disabled = part.hidden
  }
  byId('preset-hint').textContent = PRESETS[byId('preset').value] ?? ''
}

/** Previews would count as time of the cached run. */
function showPreviews() {
  form.previews.disabled = form.compare.checked
}

function readPicture() {
  const [file] = byId('image').files
  byId('image').setCustomValidity('')
  if (!file) return dropPicture()
  if (file.size > MAX_FILE) {
    byId('image').setCustomValidity('The picture may have 12 MB at most.')
    return byId('image').reportValidity()
  }
  const reader = new FileReader()
  reader.addEventListener('load', () => keepPicture(reader.result))
  reader.readAsDataURL(file)
}

function keepPicture(address) {
  picture = address
  byId('chosen-picture').src = address
  byId('chosen').hidden = false
  showKind()
}

function dropPicture() {
  picture = null
  byId('image').value = ''
  byId('chosen').hidden = true
  byId('chosen-picture').removeAttribute('src')
  showKind()
}

function acceleration() {
  if (speed() === 'preset') return { preset: byId('preset').value }
  if (speed() === 'plan') return { plan: byId('plan').value }
  return { cache: { interval: form.interval.valueAsNumber, branch: form.branch.valueAsNumber, forecast: form.forecast.value } }
}

/** The body of the job: what was left empty is left out, so that the server decides. */
function body() {
  const now = kind()
  const made = {
    kind: now,
    model: form.model.value,
    acceleration: acceleration(),
    compare: form.compare.checked,
    previews: form.previews.checked && !form.previews.disabled,
  }
  for (const name of NUMBERS[now]) if (!Number.isNaN(form[name].valueAsNumber)) made[name] = form[name].valueAsNumber
  if (picture === null) delete made.strength
  else made.image = picture
  if (now === 'image') Object.assign(made, { prompt: form.prompt.value, negative_prompt: form.negative_prompt.value, sampler: form.sampler.value })
  if (now === 'image' && form.expand.value) made.expand = { preset: form.expand.value }
  return made
}

/** Enter what a job was asked for with; its picture is not told by the server. */
export function enter(request) {
  form.model.value = request.model
  showKind()
  const { preset, plan, cache } = request.acceleration
  form.elements.speed.value = cache ? 'cache' : plan ? 'plan' : 'preset'
  if (plan) byId('plan').value = plan
  else if (!cache) byId('preset').value = preset ?? 'balanced'
  const texts = ['prompt', 'negative_prompt', 'sampler', ...NUMBERS[kind()]]
  for (const name of texts) if (form[name]) form[name].value = request[name] ?? ''
  form.expand.value = request.expand?.preset ?? ''
  for (const name of ['interval', 'branch', 'forecast']) if (cache) form[name].value = cache[name]
  form.compare.checked = request.compare
  form.previews.checked = request.previews
  showSpeed()
  showPreviews()
}

/** Mark the fields that the server has refused, and go to the first. */
export function markRefused(problems) {
  const refused = problems.map(({ where }) => form.elements[where.split('.').at(-1)]).filter((input) => input instanceof HTMLElement)
  for (const input of refused) input.setAttribute('aria-invalid', 'true')
  refused[0]?.focus()
  return refused.length > 0
}
