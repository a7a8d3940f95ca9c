"""The fused walk as a differentiable function, the same for both back ends."""

from __future__ import annotations

import itertools
import weakref
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elegans_pyg.nn.schedule import Schedule
from elegans_pyg.nn.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Walk:
    """A :class:`Schedule` variant after variant: what the kernels read, and where its nodes and edges stand in the batch.

    Attributes:
        nodes ``(A,)``: node of each place in the walk.
        edges ``(M,)``: edge of each place, sorted by target.
        node_ptr ``(V + 1,)``: offsets of the variants into ``nodes``.
        in_ptr ``(A + 1,)``, in_source ``(M,)``: incoming edges of each place, and where they start, counted inside the variant.
        out_ptr ``(A + 1,)``, out_target ``(M,)``, out_edge ``(M,)``: outgoing edges, where they end (inside the variant), and their places.
        is_input ``(A,)``, is_output ``(A,)``: bool.
        output_share ``(V,)``: one over the number of output nodes, float64.
        workspace: room for the maps.
        handle: number that an operator finds this walk by while anybody holds it; operators take tensors and plain numbers only.
    """

    nodes: Tensor
    edges: Tensor
    node_ptr: Tensor
    in_ptr: Tensor
    in_source: Tensor
    out_ptr: Tensor
    out_target: Tensor
    out_edge: Tensor
    is_input: Tensor
    is_output: Tensor
    output_share: Tensor
    workspace: Workspace
    handle: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "handle", next(_handles))
        _walks[self.handle] = self

    def __reduce__(self) -> tuple[type[Walk], tuple[Any, ...]]:
        # A copy is a walk of its own, with its own handle.
        return Walk, tuple(getattr(self, f.name) for f in fields(self) if f.init)

    @classmethod
    def from_schedule(cls, schedule: Schedule, workspace: Workspace) -> Walk:
        by_variant = torch.argsort(schedule.variant, stable=True)
        place = torch.empty_like(by_variant)
        place[by_variant] = torch.arange(by_variant.numel())
        node_ptr = _offsets(torch.bincount(schedule.variant, minlength=schedule.num_variants))
        local = place - node_ptr[schedule.variant]

        by_target = torch.argsort(place[schedule.target], stable=True)
        source, target = schedule.source[by_target], schedule.target[by_target]
        by_source = torch.argsort(place[source], stable=True)
        flags = torch.zeros(2, place.numel(), dtype=torch.bool)
        flags[0, place[: schedule.level_ptr[1]]] = True
        flags[1, place[schedule.output]] = True
        return cls(
            nodes=schedule.order[by_variant],
            edges=schedule.edge_order[by_target],
            node_ptr=node_ptr,
            in_ptr=_offsets(torch.bincount(place[target], minlength=place.numel())),
            in_source=local[source],
            out_ptr=_offsets(torch.bincount(place[source], minlength=place.numel())),
            out_target=local[target[by_source]],
            out_edge=by_source,
            is_input=flags[0],
            is_output=flags[1],
            output_share=1 / schedule.output_ptr.diff().double(),
            workspace=workspace,
        )

    def to(self, device: torch.device) -> Walk:
        """The same walk with its tensors on ``device``."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self) if f.init and f.name != "workspace"})


_handles = itertools.count()
_walks: weakref.WeakValueDictionary[int, Walk] = weakref.WeakValueDictionary()


class Shape(NamedTuple):
    """Shape of a walk's maps: each is laid out ``(H, W, B)``."""

    channels: int
    height: int
    width: int
    images: int


class Parameters(NamedTuple):
    """Of the walk's edges ``(M,)`` and nodes ``(A, C, 9)``, ``(A, C)``, in walk order; the last two are BatchNorm's statistics."""

    edge_weight: Tensor
    conv_weight: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    mean: Tensor
    variance: Tensor


def _offsets(counts: Tensor) -> Tensor:
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def _backend(device: torch.device) -> Any:
    # Imported on use: Numba and Triton are optional, and slow to import.
    if device.type == "cpu":
        from elegans_pyg.nn.fused import cpu

        return cpu
    from elegans_pyg.nn.fused import cuda

    return cuda


def _to_walk(maps: Tensor) -> Tensor:
    """``(V, B, C, H, W)`` as ``(V, C, H * W * B)``."""
    # For maps of one pixel, reshape alone would give back a view with strides, which the kernels do not expect.
    return maps.permute(0, 2, 3, 4, 1).reshape(maps.size(0), maps.size(2), -1).contiguous()


def _new_maps(like: Tensor) -> Tensor:
    """Unset maps of the same shape, laid out as :func:`_to_walk` has them."""
    variants, images, channels, height, width = like.shape
    return like.new_empty(variants, channels, height, width, images).permute(0, 4, 1, 2, 3)


def _shape(maps: Tensor) -> Shape:
    _, images, channels, height, width = maps.shape
    return Shape(channels, height, width, images)


def _gathered(walk: Walk, edge_weight: Tensor, conv_weight: Tensor, *of_nodes: Tensor) -> tuple[Tensor, ...]:
    """Parameters of the batch's edges and nodes, in walk order."""
    return (edge_weight.index_select(0, walk.edges), *(p.index_select(0, walk.nodes) for p in (conv_weight.flatten(2), *of_nodes)))


# The walk is an operator of PyTorch's, with shapes that torch.compile can work out without looking inside.
@torch.library.custom_op(
    "elegans_pyg::walk",
    mutates_args=(),
    schema="(Tensor x, Tensor edge_weight, Tensor conv_weight, Tensor norm_weight, Tensor norm_bias, Tensor running_mean,"
    " Tensor running_var, int handle, bool training, bool record, float momentum, float eps, ScalarType kept_type)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _walk(
    x: Tensor,
    edge_weight: Tensor,
    conv_weight: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    handle: int,
    training: bool,
    record: bool,
    momentum: float,
    eps: float,
    kept_type: torch.dtype,
) -> tuple[Tensor, ...]:
    """The maps ``out``; the running statistics after this step; and for the way back ``z``, ``relu``, ``used``, mean and variance."""
    walk, backend = _walks[handle], _backend(x.device)
    parameters = Parameters(*_gathered(walk, edge_weight, conv_weight, norm_weight, norm_bias, running_mean, running_var))
    out = _new_maps(x)
    count = x[0, :, 0].numel()
    z = walk.workspace.take(walk.nodes.numel() * x.size(2) * count, x.new_empty(0, dtype=kept_type))
    relu = walk.workspace.take(z.numel() if record or backend.NEEDS_RELU else 0, z)
    backend.forward(walk, _shape(x), training, record, eps, parameters, _to_walk(x), z, relu, _to_walk(out))
    statistics = [running_mean.clone(), running_var.clone()]
    if training:
        for running, batch in zip(statistics, (parameters.mean, parameters.variance * (count / (count - 1))), strict=True):
            running.index_copy_(0, walk.nodes, running.index_select(0, walk.nodes).lerp_(batch, momentum))
    return out, *statistics, z, relu, torch.zeros(1, dtype=torch.uint8), parameters.mean, parameters.variance


@_walk.register_fake
def _(x, edge_weight, conv_weight, norm_weight, norm_bias, running_mean, running_var, handle, training, record, momentum, eps, kept_type):  # type: ignore[no-untyped-def]
    walk = _walks[handle]
    z = x.new_empty(walk.nodes.numel() * x[0].numel(), dtype=kept_type)
    relu = torch.empty_like(z) if record or x.device.type != "cpu" else z.new_empty(0)
    used = torch.empty(1, dtype=torch.uint8, device="cpu")
    statistics = [norm_weight.new_empty(walk.nodes.numel(), norm_weight.size(1)) for _ in range(2)]
    return _new_maps(x), torch.empty_like(running_mean), torch.empty_like(running_var), z, relu, used, *statistics


@torch.library.custom_op(
    "elegans_pyg::walk_back",
    mutates_args=("relu", "used"),
    schema="(Tensor grad, Tensor x, Tensor z, Tensor(a!) relu, Tensor(b!) used, Tensor mean, Tensor variance, Tensor edge_weight,"
    " Tensor conv_weight, Tensor norm_weight, Tensor norm_bias, int handle, bool training, float eps)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _walk_back(
    grad: Tensor,
    x: Tensor,
    z: Tensor,
    relu: Tensor,
    used: Tensor,
    mean: Tensor,
    variance: Tensor,
    edge_weight: Tensor,
    conv_weight: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    handle: int,
    training: bool,
    eps: float,
) -> tuple[Tensor, ...]:
    """Gradients of ``x`` and of the four parameters. It leaves gradients where ``relu`` was, and says so in ``used``."""
    walk, backend, shape = _walks[handle], _backend(x.device), _shape(x)
    parameters = Parameters(*(*_gathered(walk, edge_weight, conv_weight, norm_weight, norm_bias), mean, variance))
    if used.item():
        backend.restore_relu(walk, shape, eps, parameters, _to_walk(x), z, relu)
    used.fill_(1)
    grad_x = _new_maps(x)
    # A term a channel of each edge's gradient, added up in one order: no atomics, the same bits every time.
    results = [x.new_empty(shape.channels, walk.edges.numel()), *(torch.empty_like(p) for p in parameters[1:4])]
    backend.backward(walk, shape, training, eps, parameters, z, relu, _to_walk(grad), _to_walk(grad_x), *results)
    results[0] = results[0].sum(0)
    gradients = [torch.zeros_like(p) for p in (edge_weight, conv_weight, norm_weight, norm_bias)]
    for gradient, result, places in zip(gradients, results, (walk.edges, *[walk.nodes] * 3), strict=True):
        gradient.index_copy_(0, places, result.view(-1, *gradient.shape[1:]))
    return grad_x, *gradients


@_walk_back.register_fake
def _(grad, x, z, relu, used, mean, variance, edge_weight, conv_weight, norm_weight, norm_bias, handle, training, eps):  # type: ignore[no-untyped-def]
    return _new_maps(x), *(torch.empty_like(p) for p in (edge_weight, conv_weight, norm_weight, norm_bias))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, *parameters = inputs[:5]
    ctx.handle, ctx.training, _, _, ctx.eps, _ = inputs[7:]
    # Gradients of the other outputs are never asked for, and zeros in their place would take as much room as all maps.
    ctx.set_materialize_grads(False)
    _, _, _, z, relu, used, mean, variance = output
    ctx.save_for_backward(x, z, mean, variance, *parameters)
    # Not saved as the others are: the way back writes to them, which autograd would take for a mistake when it comes a second time.
    ctx.relu, ctx.used = relu.detach(), used
    # A walk is found by its number only while somebody holds it.
    ctx.walk = _walks[ctx.handle]


def _differentiate(ctx: Any, grad: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 13
    x, z, *tensors = ctx.saved_tensors
    return *_walk_back(grad, x, z, ctx.relu, ctx.used, *tensors, ctx.handle, ctx.training, ctx.eps), *(None,) * 8


_walk.register_autograd(_differentiate, setup_context=_save)


def run_fused(
    handle: int,
    training: bool,
    momentum: float,
    eps: float,
    x: Tensor,
    edge_weight: Tensor,
    conv_weight: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    kept_type: torch.dtype | None = None,
) -> Tensor:
    """Walk all variants of a :class:`Walk`, each channel by itself.

    Args:
        handle: of the walk, which is on the device of ``x``.
        training: normalise by the batch's statistics and update the running ones, instead of normalising by those.
        momentum, eps: of BatchNorm.
        x: input maps ``(V, B, C, H, W)``; float32, or on the CPU float64.
        edge_weight, conv_weight, norm_weight, norm_bias, running_mean, running_var: of all edges ``(E,)`` and nodes ``(N, C, 3, 3)`` and
            ``(N, C)`` of the batch, of the type of ``x``.
        kept_type: type that maps are stored in, that of ``x`` by default; sums and statistics are in the type of ``x``.

    Returns:
        mean over the output nodes of each variant, ``(V, B, C, H, W)``.
    """
    tensors = (x, edge_weight, conv_weight, norm_weight, norm_bias, running_mean, running_var)
    out, mean, variance, *_ = _walk(*tensors, handle, training, torch.is_grad_enabled(), momentum, eps, kept_type or x.dtype)
    if training:
        with torch.no_grad():
            running_mean.copy_(mean)
            running_var.copy_(variance)
    return out
