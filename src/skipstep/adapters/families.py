"""The families of adapters: how each names its tensors, and what their shapes say of rank and module."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..errors import AdapterError
from .fits import Fit, Shape, Shapes, adalora, ia3, loha, lokr, lora, oft, prompt, vera
from .tensors import Tensor

MAX_RANK = 256


@dataclass(frozen=True, kw_only=True)
class Family:
    """A way to adapt modules: PEFT's name of it, the complete sets of tensors a module may have, and their fit.

    `fit` returns None where the shapes contradict each other. `shared` tensors belong to all modules.
    """

    name: str
    peft_type: str
    parts: tuple[frozenset[str], ...]
    fit: Callable[[Shapes], Fit | None]
    shared: frozenset[str] = frozenset()

    @property
    def is_lora(self) -> bool:
        """Whether modules add B A x alone, so that the scale can be folded and rows of a batch may differ."""
        return self.name in ("LoRA", "rsLoRA")


def _sets(*parts: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(part.split()) for part in parts)


_PLAIN = _sets("lora_A.weight lora_B.weight")
_DORA = _sets("lora_A.weight lora_B.weight lora_magnitude_vector")
_ADALORA = _sets("lora_A lora_B lora_E")
_LOHA = _sets("hada_w1_a hada_w1_b hada_w2_a hada_w2_b")
_LOKR = _sets(
    "lokr_w1 lokr_w2",
    "lokr_w1 lokr_w2_a lokr_w2_b",
    "lokr_w1_a lokr_w1_b lokr_w2",
    "lokr_w1_a lokr_w1_b lokr_w2_a lokr_w2_b",
)
_VERA = _sets("vera_lambda_b vera_lambda_d")
_PROMPT = _sets("prompt_embeddings")
FAMILIES = (
    Family(name="LoRA", peft_type="LORA", parts=_PLAIN, fit=lora),
    Family(name="rsLoRA", peft_type="LORA", parts=_PLAIN, fit=lora),
    Family(name="DoRA", peft_type="LORA", parts=_DORA, fit=lora),
    Family(name="AdaLoRA", peft_type="ADALORA", parts=_ADALORA, fit=adalora),
    Family(name="LoHa", peft_type="LOHA", parts=_LOHA, fit=loha),
    Family(name="LoKr", peft_type="LOKR", parts=_LOKR, fit=lokr),
    Family(name="IA3", peft_type="IA3", parts=_sets("ia3_l"), fit=ia3),
    Family(name="OFT", peft_type="OFT", parts=_sets("oft_R.weight"), fit=oft),
    Family(name="VeRA", peft_type="VERA", parts=_VERA, fit=vera, shared=frozenset({"vera_A", "vera_B"})),
    Family(name="prompt tuning", peft_type="PROMPT_TUNING", parts=_PROMPT, fit=prompt),
    Family(name="p-tuning", peft_type="P_TUNING", parts=_PROMPT, fit=prompt),
    Family(name="prefix tuning", peft_type="PREFIX_TUNING", parts=_PROMPT, fit=prompt),
)
PLAIN = frozenset(family.name for family in FAMILIES if family.is_lora)
_BY_NAME = {family.name: family for family in FAMILIES}
PROMPTS = frozenset({"PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"})


def family_of(peft_type: object, *, rslora: bool, dora: bool) -> Family:
    """The family that a config names.

    Raises:
        AdapterError: if it is none that is known, or a LoRA both rank-stabilised and decomposed by magnitude.
    """
    if peft_type == "LORA":
        if rslora and dora:
            raise AdapterError("use_dora: together with use_rslora is not supported; train with one of them")
        return _BY_NAME["DoRA" if dora else "rsLoRA" if rslora else "LoRA"]
    found = next((family for family in FAMILIES if family.peft_type == peft_type), None)
    if found is None:
        known = ", ".join(dict.fromkeys(family.peft_type for family in FAMILIES))
        raise AdapterError(f"peft_type: must be one of {known}, got {str(peft_type)[:80]!r}")
    return found


def grouped(family: Family, tensors: Mapping[str, Tensor]) -> tuple[dict[str, dict[str, Shape]], dict[str, Shape]]:
    """The shapes by module and part, and those that all modules share. A prompt's only module is "".

    Raises:
        AdapterError: names the first tensor that is none of the family's.
    """
    parts = sorted({part for complete in family.parts for part in complete}, key=len, reverse=True)
    choice = "|".join(map(re.escape, parts))
    in_module = r"base_model\.model\.([A-Za-z_]\w*(?:\.\w+)*)\." if family.peft_type not in PROMPTS else "()"
    grammar = re.compile(f"{in_module}({choice})", re.ASCII)
    modules: dict[str, dict[str, Shape]] = {}
    shared: dict[str, Shape] = {}
    for name, tensor in tensors.items():
        if name.startswith("base_model.") and name[len("base_model.") :] in family.shared:
            shared[name[len("base_model.") :]] = tensor.shape
            continue
        found = grammar.fullmatch(name) if len(name) <= 256 else None
        if found is None:
            raise AdapterError(f"tensor {name[:120]!r}: is none of {family.name}'s, which are {_listed(parts)}")
        modules.setdefault(found[1], {})[found[2]] = tensor.shape
    if not modules:
        raise AdapterError(f"tensors: there are none of {family.name}'s, which are {_listed(parts)}")
    return modules, shared


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(sorted(parts))


def fitted(family: Family, modules: Mapping[str, Shapes]) -> dict[str, Fit]:
    """What the shapes of each module say.

    Raises:
        AdapterError: if a module lacks a tensor, its shapes contradict each other, or a rank is not 1..256.
    """
    fits = {}
    for module, shapes in modules.items():
        if frozenset(shapes) not in family.parts:
            complete = " or ".join(_listed(parts) for parts in family.parts)
            raise AdapterError(f"module {module}: has {_listed(shapes)} alone; {family.name} needs {complete}")
        fit = family.fit(shapes)
        if fit is None:
            sizes = ", ".join(f"{part} {list(shape)}" for part, shape in sorted(shapes.items()))
            raise AdapterError(f"shape of {module or 'the prompt'}: {sizes} do not fit together as {family.name}")
        if fit.rank is not None and not 1 <= fit.rank <= MAX_RANK:
            raise AdapterError(f"rank of {module}: must be 1..{MAX_RANK}, got {fit.rank}")
        if any(0 in shape for shape in shapes.values()):
            raise AdapterError(f"shape of {module or 'the prompt'}: has a size of 0")
        fits[module] = fit
    return fits
