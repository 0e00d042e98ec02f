"""From a network, a loss, an optimiser and a strategy's half on phones to two graphs over a whole block of phones.

`step` is one batch of every phone: gradients, what the strategy makes of them, the optimiser. `finish` is what phones
send at the end, checked, weighted, rounded to whole units and added up. Both are recorded once by running them on
made-up numbers (so nothing here is about one network), with the phones on the last axis: `[groups, ..., LANES]`. The
lanes are what a processor's vector instructions run over; a group's weights are what stays in its fastest cache.

Compiling and loading them is the fleet's business; who runs them is `compiled`.
"""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, functionalize, grad_and_value, vmap
from torch.fx import GraphModule, Interpreter
from torch.fx.experimental.proxy_tensor import make_fx

from fedray.learning.lanes import InLanes, alone, phone_graph
from fedray.learning.models import Layout, flat_weights
from fedray.learning.optimisers import LocalTraining
from fedray.learning.program import LANES, LOW_BITS, Graph, Program, VisitProgram
from fedray.learning.task import Loss
from fedray.learning.threads import one_thread
from fedray.sums import LARGEST_UPDATE

MOST_GROUPS = 16
NUMBERS_A_BLOCK = 1 << 20
"""Weights of a block at most, 4 MiB: more phones a block spare calls, but their weights leave the caches."""

MOST_SMALL = 20_000
"""Weights of a network up to which one phone's products are made by plain loops: a call of the library costs more."""

Extra: TypeAlias = Mapping[str, Tensor]
Correct: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, Extra], Tensor]
"""`correct(gradients, weights, memory, start, extra)`, matrices `[phones, D]`: the gradients to step along."""

Send: TypeAlias = Callable[[Tensor, Tensor, Tensor, Extra], tuple[Mapping[str, Tensor], Tensor]]
"""`send(updates, steps, memory, extra)`: matrices to add up by name, and the phones' new private vectors."""


@dataclass(frozen=True)
class Round:
    """What is to be recorded.

    Attributes:
        network, loss, training: As for `VectorisedTrainer`.
        features: How many a row has.
        memory: Private vectors of a phone.
        extra: Names of the vectors `[D]` that the strategy broadcasts beside the weights.
        correct: The strategy's correction of gradients, if it has one.
        send: What phones send.
    """

    network: nn.Module
    loss: Loss
    training: LocalTraining
    features: int
    memory: int
    extra: tuple[str, ...]
    correct: Correct | None
    send: Send


@one_thread()
def record(round_: Round) -> Program:
    """Record a local round.

    Raises:
        Exception: Whatever torch raises for a module, loss or strategy that can't be recorded.
    """
    trained = copy.deepcopy(round_.network).train()
    round_ = replace(round_, network=trained)
    flat = flat_weights(trained)
    groups = max(1, min(MOST_GROUPS, NUMBERS_A_BLOCK // (LANES * len(flat))))
    with torch.no_grad():
        step, states = _recorded_step(round_, flat, groups)
        finish, sums = _recorded_finish(round_, flat, groups)
    return Program(groups, states, round_.correct is not None, round_.extra, sums, step, finish)


@one_thread()
def record_visits(network: nn.Module, loss: Loss, training: LocalTraining, features: int) -> VisitProgram:
    """Record one batch of one phone.

    Raises:
        Exception: Whatever torch raises for a module or loss that can't be recorded.
    """
    trained, batch = copy.deepcopy(network).train(), training.batch_size
    flat = flat_weights(trained)
    states = len(training.optimiser(flat[None]).state)
    given = (
        flat[None],
        *(torch.zeros_like(flat[None]) for _ in range(states)),
        torch.linspace(0.1, 0.9, batch * features).view(batch, features),
        torch.full((batch,), 0.5),
        torch.ones(batch),
        *_scalars(),
    )
    phone = _recorded_phone(trained, loss, features, batch)

    def step(weights: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        carried, (rows, targets, mask, number, rate) = rest[:states], rest[states:]
        *slopes, value = run(*_parts(trained, weights[0]), rows, targets, mask)
        gradients = torch.cat([slope.flatten() for slope in slopes])[None]
        stepped = weights.clone()
        optimiser = training.optimiser(stepped, rate)
        for mine, theirs in zip(optimiser.state, carried, strict=True):
            mine.copy_(theirs)
        optimiser.step(stepped, gradients, number)
        return stepped, *optimiser.state, value * mask.sum()

    run = Interpreter(phone).run if len(flat) > MOST_SMALL else partial(alone, phone)
    with torch.no_grad():
        recorded = make_fx(functionalize(step, remove="mutations"))(*given)
    return VisitProgram(states, _exported(recorded, given))


def _recorded_step(round_: Round, flat: Tensor, groups: int) -> tuple[Graph, int]:
    states, batch = len(round_.training.optimiser(flat[None]).state), round_.training.batch_size
    weights = flat[None, :, None].expand(groups, -1, LANES).contiguous()
    # Numbers of any kind would do; these keep a loss of logarithms or roots finite.
    features = torch.linspace(0.1, 0.9, round_.features * groups * batch * LANES)
    rows = (
        features.view(round_.features, groups, batch, LANES),
        torch.full((groups, batch, LANES), 0.5),
        torch.ones(groups, batch, LANES),
    )
    strategys: tuple[Tensor, ...] = ()
    if round_.correct is not None:
        own = weights.new_zeros(groups, round_.memory * len(flat), LANES)
        strategys = (own, flat.clone(), *(torch.zeros_like(flat) for _ in round_.extra))
    given = (weights, *(torch.zeros_like(weights) for _ in range(states)), *strategys, *rows, *_scalars())
    dims = [0] * (1 + states)
    dims += [0, *[None] * (len(strategys) - 1)] if strategys else []  # type: ignore[list-item]
    in_dims = (*dims, 1, 0, 0, None, None)
    phone = _recorded_phone(round_.network, round_.loss, round_.features, batch)
    return _graph(partial(_lane_step, round_, phone, states), given, in_dims), states


def _scalars() -> tuple[Tensor, Tensor]:
    """The number of the step, and the learning rate."""
    return torch.zeros((), dtype=torch.float64), torch.full((), 0.1, dtype=torch.float64)


def _lane_step(round_: Round, phone: GraphModule, states: int, weights: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    """One batch of the phones of one group, `[..., LANES]` each."""
    carried, rest = rest[:states], rest[states:]
    strategys, (features, targets, mask, number, rate) = rest[:-5], rest[-5:]
    *slopes, losses = InLanes(phone).of(*_parts(round_.network, weights), features.transpose(0, 1), targets, mask)
    gradients = [slope.reshape(-1, LANES) for slope in slopes]
    if round_.correct is not None:
        memory, start, *extra = strategys
        named = dict(zip(round_.extra, extra, strict=True))
        gradients = [round_.correct(torch.cat(gradients).t(), weights.t(), memory.t(), start, named).t()]
    rows = mask.sum(0)
    sizes = [len(gradient) for gradient in gradients]
    cut = [each.split(sizes) for each in (weights, *carried)]
    # Part by part, since local optimisers go number by number: a gradient is used where it is made.
    stepped = [
        _stepped(round_.training, gradient, rows > 0, number, rate, *held)
        for gradient, *held in zip(gradients, *cut, strict=True)
    ]
    # Not just times their rows: behind its last step a phone's rows are zeros, of which a network may make NaN.
    seen = torch.where(rows > 0, losses * rows, 0.0)
    return *(torch.cat(parts) for parts in zip(*stepped, strict=True)), seen


def _stepped(
    training: LocalTraining, gradient: Tensor, active: Tensor, number: Tensor, rate: Tensor, *held: Tensor
) -> list[Tensor]:
    """The weights and the optimiser's state `[n, LANES]` after a step of the phones that have rows."""
    weights, *carried = held
    after = weights.clone()
    optimiser = training.optimiser(after.t(), rate)
    for mine, given in zip(optimiser.state, carried, strict=True):
        mine.copy_(given.t())
    optimiser.step(after.t(), gradient.t(), number)
    new = (after, *(mine.t() for mine in optimiser.state))
    return [torch.where(active, now, before) for now, before in zip(new, held, strict=True)]


def _parts(network: nn.Module, weights: Tensor) -> list[Tensor]:
    """Views of `[D, ...]` by parameter, each with what comes behind D last."""
    layout = Layout.of(network)
    cut = zip(layout.shapes, weights.split(layout.sizes), strict=True)
    return [part.view((*shape, *weights.shape[1:])) for shape, part in cut]


def _recorded_phone(network: nn.Module, loss: Loss, features: int, batch: int) -> GraphModule:
    """One batch of one phone: `(*parts, features, targets, mask)` to `(*gradients, loss)`."""
    layout = Layout.of(network)

    def phone_loss(parts: tuple[Tensor, ...], rows: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        outputs = functional_call(network, dict(zip(layout.names, parts, strict=True)), (rows,))
        return loss(outputs, targets, mask)

    def gradients(*given: Tensor) -> tuple[Tensor, ...]:
        *parts, rows, targets, mask = given
        slopes, value = grad_and_value(phone_loss)(tuple(parts), rows, targets, mask)
        return *slopes, value

    rows = torch.linspace(0.1, 0.9, batch * features).view(batch, features)
    parts = _parts(network, flat_weights(network))
    return phone_graph(gradients, (*parts, rows, torch.full((batch,), 0.5), torch.ones(batch)))


def _recorded_finish(round_: Round, flat: Tensor, groups: int) -> tuple[Graph, tuple[str, ...]]:
    weights = flat[None, :, None].expand(groups, -1, LANES).contiguous()
    memory = weights.new_zeros(groups, round_.memory * len(flat), LANES)
    extra = tuple(torch.zeros_like(flat) for _ in round_.extra)
    ones = torch.ones(groups, LANES)
    scale = torch.ones((), dtype=torch.float64)
    given = (weights, flat.clone(), memory, *extra, ones.long(), ones.double(), ones.bool(), scale)
    sent, _ = round_.send(weights[0].t(), ones[0].long(), memory[0].t(), dict(zip(round_.extra, extra, strict=True)))
    names = tuple(sent)
    in_dims = (0, None, 0, *[None] * len(extra), 0, 0, 0, None)
    return _graph(partial(_lane_finish, round_, names), given, in_dims, partial(_added_up, len(names))), names


def _lane_finish(
    round_: Round, names: tuple[str, ...], weights: Tensor, start: Tensor, memory: Tensor, *rest: Tensor
) -> tuple[Tensor, ...]:
    """What the phones of one group send, in whole units `[D, LANES]`, and who of them is kept."""
    extra, (steps, weight, real, scale) = rest[:-4], rest[-4:]
    named = dict(zip(round_.extra, extra, strict=True))
    sent, kept_memory = round_.send((weights - start[:, None]).t(), steps, memory.t(), named)
    keep = real
    for name in names:
        # NaN fits nowhere. A sum of floats, since a maximum or a sum of whole numbers takes three times as long.
        keep = keep & (torch.where(sent[name].abs() <= LARGEST_UPDATE, 0.0, 1.0).sum(1) == 0)
    units = []
    for name in names:
        scaled = sent[name].t().double() * (weight * scale if name == "update" else torch.ones_like(weight) * scale)
        units.append(torch.where(keep, scaled.round(), 0.0))
    return keep, *units, kept_memory.t()


def _added_up(names: int, keep: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    """Units `[groups, D, LANES]` added up over groups, exactly, in two parts."""
    units, memory = rest[:names], rest[names:]
    sums = []
    for each in units:
        high = (each * 2.0**-LOW_BITS).round()
        sums.append(torch.stack([high.sum(0), (each - high * 2.0**LOW_BITS).sum(0)]))
    return keep, *sums, *memory


def _graph(
    of_group: Callable[..., tuple[Tensor, ...]],
    given: tuple[Tensor, ...],
    in_dims: Sequence[int | None],
    afterwards: Callable[..., tuple[Tensor, ...]] = lambda *made: made,
) -> Graph:
    """Record `of_group` on one group, then its recording mapped over groups.

    Twice, so that the groups come first and the lanes stay last, whatever the mapping does.
    """
    one = tuple(each if dim is None else each.select(dim, 0) for each, dim in zip(given, in_dims, strict=True))
    lanes: GraphModule = make_fx(functionalize(of_group, remove="mutations"))(*one)
    lanes.graph.eliminate_dead_code()
    lanes.recompile()
    over_groups = vmap(lanes, in_dims=tuple(in_dims))
    return _exported(make_fx(lambda *all_groups: afterwards(*over_groups(*all_groups)))(*given), given)


def _exported(recorded: GraphModule, given: tuple[Tensor, ...]) -> Graph:
    recorded.graph.eliminate_dead_code()
    recorded.recompile()
    exported = torch.export.export(recorded, given)
    exported.example_inputs = None  # made-up numbers, a megabyte of them
    file = io.BytesIO()
    torch.export.save(exported, file)
    return Graph(_digest(recorded, given), file.getvalue())


def _digest(block: GraphModule, given: Sequence[Tensor]) -> str:
    hashed = hashlib.sha256(block.code.encode())
    for each in given:
        hashed.update(f"{each.dtype}{tuple(each.shape)}{each.stride()}".encode())
    constants = {**vars(block), **dict(block.named_buffers()), **dict(block.named_parameters())}
    for name, constant in sorted(constants.items()):  # frozen weights, buffers, tables
        if isinstance(constant, Tensor):
            hashed.update(f"{name} {constant.dtype}{tuple(constant.shape)}{constant.stride()}".encode())
            hashed.update(constant.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()
