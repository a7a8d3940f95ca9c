"""DAGNet: message passing along a batch of DAGs, with a small convolution at every node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.utils import degree

from elegans_pyg._arguments import check_choice
from elegans_pyg.nn.dag.levels import LevelWalk, run_levels, run_modules
from elegans_pyg.nn.dag.node_operation import ModuleOperation
from elegans_pyg.nn.dag.scatter import PlainOperation, ScatterWalk
from elegans_pyg.nn.dag.schedule import Schedule
from elegans_pyg.nn.dag.trial import Case, Choice, card, device_clock
from elegans_pyg.nn.dag.trial import choose as choose_by_trial
from elegans_pyg.nn.executors import DAG_EXECUTORS, choose, decided_by_trial, refusal
from elegans_pyg.nn.variants import VariantNetwork, generators, uniform_parameter
from elegans_pyg.nn.workspace import Workspace
from elegans_pyg.wirings import Graphs, as_batch

if TYPE_CHECKING:
    from elegans_pyg.nn.dag.fused.walk import Walk

EDGE_ACTIVATIONS = ("identity", "sigmoid", "dale")
EDGE_INITS = ("in_degree", "synapse_count")


class DAGNet(VariantNetwork):
    r"""Message passing along ``V`` DAGs at once, with a ReLU, a depthwise convolution and a BatchNorm at every node.

    The network of Park & Kim, "Caenorhabditis elegans Connectomes of both Sexes as Image Classifiers", Exp. Neurobiol. 32(2):102-109
    (2023), doi:10.5607/en23004, after Xie et al., "Exploring Randomly Wired Neural Networks for Image Recognition" (2019),
    arXiv:1904.01569:

    .. math::
        a_n &= x_v \text{ (input nodes)}, \qquad a_n = \sum_{e=(m,n)} w_e\, y_m \text{ (other nodes)} \\
        y_n &= \mathrm{BatchNorm}(\mathrm{conv}_{k \times k}(\mathrm{ReLU}(a_n))) \\
        \mathrm{out}_v &= \mathrm{mean}\{y_n : n \text{ an output node of variant } v\}

    BatchNorm is per node and channel, over images, rows and columns; the convolution has no bias. Variants share nothing. Nodes that no
    input reaches are left out.

    Args:
        batch: a DAG, or a ``Batch``, data set or list of DAGs of any size and depth.
        channels: feature maps per node, ``C``.
        kernel_size: side of the convolution kernel, odd.
        executor: ``"scatter"``, the definition in plain PyG, differentiable any number of times
            (:class:`~elegans_pyg.nn.dag.scatter.ScatterWalk`); ``"levels"``, plain PyTorch and PyG, several times faster; ``"fused"``, one
            compiled walk per variant and channel, several times faster again (3x3 kernels and the built-in node operation only; on the CPU
            float32 or float64, with the extra ``fast``; on CUDA float32, with maps in bfloat16 under autocast); or ``"auto"``, fused where
            that applies (:meth:`fused_refusal` says why it does not). On CUDA, ``auto`` first runs both, forward and backward, on the first
            maps of every shape, and takes fused if the two agree and it is faster, else levels. The attribute ``choices`` holds the choice
            and the reason, which is logged once and saved in checkpoints. Under ``torch.compile`` and during CUDA graph capture, where
            nothing can be timed, ``auto`` on CUDA is levels. Transforms of :mod:`torch.func`, ``torch.export`` and backward passes with
            ``create_graph=True`` always use ``"scatter"``.
        edge_activation: function applied to the stored weights: ``"identity"``; ``"sigmoid"``, as in RandWire; ``"dale"``: softplus,
            negated where the presynaptic neuron is inhibitory (``batch.inhibitory``), so that each neuron keeps one sign.
        edge_init: initial size of the weights after ``edge_activation``: ``"in_degree"``: :math:`1/\sqrt{d_n}` for a target with
            :math:`d_n` incoming edges; ``"synapse_count"``: :math:`s_e / \sqrt{\sum_{e'} s_{e'}^2}`, with :math:`s_e` the synapse count
            ``batch.edge_weight`` and :math:`e'` the incoming edges of the same target. With ``"sigmoid"``, whose values lie below 1, they
            are at most 0.95.
        node_operation: factory ``channels -> Module`` that replaces ReLU, convolution and BatchNorm. It is called once per node, and each
            module maps ``(B, C, H, W)`` to the same shape. Nodes then run one by one. ``torch.compile`` uses executor ``scatter`` for it;
            only that executor has second derivatives.
        momentum, eps: of BatchNorm, as in :class:`torch.nn.BatchNorm2d`.
        seeds: one seed per variant, or an integer ``s`` for ``s, s + 1, ...``; a variant's initial parameters depend only on its own seed.

    Shapes:
        - **input:** ``(V, B, C, H, W)``
        - **output:** ``(V, B, C, H, W)``
        - **parameters:** ``edge_weight (E,)``, ``conv_weight (N, C, k, k)``, ``norm_weight (N, C)``, ``norm_bias (N, C)``; buffers
          ``running_mean (N, C)``, ``running_var (N, C)``. ``edge_index (2, E)`` lists the edges in the order of ``edge_weight``.

    Raises:
        ValueError: for an unknown option, an even or non-positive kernel size, or graphs that are not DAGs (see :class:`Schedule`).
        TypeError: if ``batch`` is none of these.
    """

    edge_index: Tensor
    _order: Tensor
    _edge_order: Tensor
    _edge_sign: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        batch: Graphs,
        channels: int,
        kernel_size: int = 3,
        executor: str = "auto",
        edge_activation: str = "identity",
        edge_init: str = "in_degree",
        node_operation: Callable[[int], nn.Module] | None = None,
        momentum: float = 0.1,
        eps: float = 1e-5,
        seeds: int | Sequence[int] = 0,
    ) -> None:
        super().__init__()
        batch = as_batch(batch)
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, so that maps keep their size, got {kernel_size}")
        self.executor = check_choice("executor", executor, DAG_EXECUTORS)
        self.edge_activation = check_choice("edge_activation", edge_activation, EDGE_ACTIVATIONS)
        check_choice("edge_init", edge_init, EDGE_INITS)
        self.schedule = Schedule.from_batch(batch)
        self.channels, self.kernel_size, self.momentum, self.eps = channels, kernel_size, momentum, eps
        self.num_variants, nodes = self.schedule.num_variants, self.schedule.num_nodes
        ptr = batch.ptr.cpu() if isinstance(batch, Batch) else torch.tensor([0, nodes])
        edge_index = batch.edge_index.cpu()
        self.node_ptr: list[int] = ptr.tolist()
        variant_of_edge = torch.bucketize(edge_index[0], ptr, right=True) - 1
        if bool((variant_of_edge.diff() < 0).any()):
            raise ValueError("edges of a Batch must come variant by variant; build it with Batch.from_data_list([...])")
        self.edge_ptr: list[int] = [0, *torch.bincount(variant_of_edge, minlength=self.num_variants).cumsum(0).tolist()]
        self.register_buffer("edge_index", edge_index.clone(), persistent=False)
        self.register_buffer("_order", self.schedule.order, persistent=False)
        self.register_buffer("_edge_order", self.schedule.edge_order, persistent=False)
        if edge_activation == "dale":
            if "inhibitory" not in batch:
                raise ValueError(
                    "edge_activation='dale' needs batch.inhibitory, one bool per node, which the graphs lack; add it to each graph"
                )
            sign = 1.0 - 2.0 * batch.inhibitory.cpu()[edge_index[0]].to(torch.get_default_dtype())
            self.register_buffer("_edge_sign", sign, persistent=False)
        self.edge_weight = nn.Parameter(_initial_edge_weight(batch, edge_index, nodes, edge_activation, edge_init))

        own = generators(seeds, self.num_variants)
        sizes = [high - low for low, high in pairwise(self.node_ptr)]
        self.node_modules: nn.ModuleList | None = None
        if node_operation is None:
            # The initialisation of torch.nn.Conv2d, uniform in +-1/sqrt(fan_in).
            self.conv_weight = uniform_parameter(own, (channels, kernel_size, kernel_size), 1 / kernel_size, sizes)
            ones, zeros = torch.ones(nodes, channels), torch.zeros(nodes, channels)
            self.norm_weight, self.norm_bias = nn.Parameter(ones), nn.Parameter(zeros)
            self.register_buffer("running_mean", zeros.clone())
            self.register_buffer("running_var", ones.clone())
        else:
            self.node_modules = nn.ModuleList()
            for n, generator in zip(sizes, own, strict=True):
                # Modules draw from the CPU's global generator, so its state is restored afterwards; torch.manual_seed would seed all.
                with torch.random.fork_rng(devices=[]):
                    torch.random.default_generator.manual_seed(generator.initial_seed())
                    self.node_modules.extend(node_operation(channels) for _ in range(n))
        self._scatter = ScatterWalk(self.schedule)
        self._walks: dict[tuple[str, torch.device], LevelWalk | Walk] = {}
        self._workspace = Workspace()
        self.choices: dict[Case, Choice] = {}
        self.executor_in_use()  # raises here rather than in the first forward pass

    def weights_in_use(self) -> Tensor:
        """Edge weights after ``edge_activation``, ``(E,)``, in the order of ``edge_index``."""
        if self.edge_activation == "sigmoid":
            return self.edge_weight.sigmoid()
        if self.edge_activation == "dale":
            return self._edge_sign * nn.functional.softplus(self.edge_weight)
        return self.edge_weight

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(V, B, C, H, W)`` to the mean over each variant's output nodes, of the same shape."""
        if x.dim() != 5 or x.size(0) != self.num_variants or x.size(2) != self.channels:
            raise ValueError(f"x must be (V, B, C, H, W) = ({self.num_variants}, B, {self.channels}, H, W), got {tuple(x.shape)}")
        if x.numel() == 0:
            raise ValueError(f"x must hold at least one image of at least one pixel, got {tuple(x.shape)}")
        if self.training and self.node_modules is None and x[:, :, 0].numel() == self.num_variants:
            raise ValueError(
                "BatchNorm in training needs more than one value per channel, got one image of one pixel; use a larger batch or eval()"
            )
        kept_type = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        executor = self._executor()
        if executor == "scatter":
            return self._run_scatter(x.to(kept_type)).to(kept_type)
        if executor == "levels" and self.node_modules is not None:
            # Sums are in the parameters' type, and autocast chooses that of each module's operators.
            return self._run_modules(x.to(self.edge_weight.dtype), self.node_modules).to(kept_type)
        if executor == "auto":
            executor = self._chosen_by_trial(x.to(kept_type))
        return self._run(executor, x, kept_type, self._tensors())

    def executor_in_use(self) -> str:
        """Return the executor for the parameters' device; for ``auto`` on CUDA, the last one chosen in training, or else ``levels``.

        Raises:
            ValueError: if ``executor="fused"`` was given and does not apply.
        """
        executor = self._executor()
        if executor != "auto":
            return executor
        taken = [choice.executor for case, choice in self.choices.items() if case.training]
        return taken[-1] if taken else "levels"

    def _executor(self) -> str:
        """Return the executor, or ``"auto"`` where a trial decides."""
        compiling = torch.compiler.is_compiling()
        if self.executor == "scatter" or (compiling and self.node_modules is not None) or _wants_definition():
            return "scatter"
        device, refused = self.edge_weight.device, self.fused_refusal()
        if not decided_by_trial(self.executor, device, refused):
            return choose(self.executor, refused)
        return "levels" if compiling or (device.type == "cuda" and torch.cuda.is_current_stream_capturing()) else "auto"

    def fused_refusal(self) -> str:
        """Return why executor ``fused`` does not apply to this network on its present device; empty if it does."""
        if self.node_modules is not None:
            return "it supports only the built-in node operation, and this network has node_operation"
        if self.kernel_size != 3:
            return f"it supports only 3x3 kernels, and this network's are {self.kernel_size}x{self.kernel_size}"
        return refusal(self.edge_weight.device, self.edge_weight.dtype)

    def variant_ptr(self) -> dict[str, list[int]]:
        """See :meth:`VariantNetwork.variant_ptr`; raises ``ValueError`` with ``node_operation``, whose parameters have no such split."""
        if self.node_modules is not None:
            raise ValueError("variant_ptr is for the built-in node operation; with node_operation each node has a module of its own")
        return {name: self.edge_ptr if name == "edge_weight" else self.node_ptr for name in self.state_dict()}

    def _run(self, executor: str, x: Tensor, kept_type: torch.dtype, tensors: Sequence[Tensor]) -> Tensor:
        if executor == "levels":
            return run_levels(self._walk("levels"), *self._options(), x.to(kept_type), *tensors)
        # Sums are in the parameters' type. Storing maps in bfloat16 pays only on a GPU, under autocast.
        stored = kept_type if x.device.type == "cuda" and kept_type == torch.bfloat16 else self.edge_weight.dtype
        return self._run_fused(x.to(self.edge_weight.dtype), stored, tensors).to(kept_type)

    def _run_fused(self, x: Tensor, stored: torch.dtype, tensors: Sequence[Tensor]) -> Tensor:
        from elegans_pyg.nn.dag.fused.operator import run_fused

        return run_fused(self._walk("fused"), *self._options(), x, *tensors, kept_type=stored)

    def _chosen_by_trial(self, x: Tensor) -> str:
        device, schedule, backward = x.device, self.schedule, torch.is_grad_enabled()
        variants, images, channels, height, width = x.shape
        size = schedule.num_nodes, schedule.num_edges, variants, images, channels, height, width
        case = Case(card(device), str(x.dtype), *size, self.training, backward)
        levels, fused = (partial(self._one_pass, executor, backward) for executor in ("levels", "fused"))
        choice = self.choices[case] = choose_by_trial(case, x, levels, fused, device_clock(device))
        return choice.executor

    def _one_pass(self, executor: str, backward: bool, x: Tensor) -> list[Tensor]:
        """Return what a trial compares: the outputs and all gradients of one step, without changing this network."""
        *parameters, mean, var = (tensor.detach() for tensor in self._tensors())
        leaves = [leaf.requires_grad_(backward) for leaf in (x.detach(), *parameters)]
        # Activation checkpointing counts saved tensors, and recomputation runs no second trial.
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
            out = self._run(executor, leaves[0], x.dtype, (*leaves[1:], mean.clone(), var.clone()))
        if not backward:
            return [out]
        # A random gradient: from the outputs as their own gradient, BatchNorm would leave only rounding errors.
        drawn = torch.randn(out.shape, generator=torch.Generator(x.device).manual_seed(0), dtype=out.dtype, device=out.device)
        return [out.detach(), *torch.autograd.grad(out, leaves, drawn)]

    def _options(self) -> tuple[bool, float, float]:
        return self.training, self.momentum, self.eps

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.weights_in_use(), self.conv_weight, self.norm_weight, self.norm_bias, self.running_mean, self.running_var

    @torch.compiler.assume_constant_result
    def _walk(self, executor: str) -> int:
        """Return the handle of an executor's walk, built on first use."""
        return self._walk_on(executor, self.edge_weight.device).handle

    def _walk_on(self, executor: str, device: torch.device) -> LevelWalk | Walk:
        if (executor, device) not in self._walks:
            from elegans_pyg.nn.dag.fused.walk import Walk

            make = LevelWalk if executor == "levels" else Walk.from_schedule
            self._walks[executor, device] = make(self.schedule, self._workspace, device)
        return self._walks[executor, device]

    def _run_scatter(self, x: Tensor) -> Tensor:
        weight = self.weights_in_use()[self._edge_order]
        if self.node_modules is not None:
            modules = [self.node_modules[node] for node in self.schedule.order.tolist()]
            return self._scatter(x, weight, lambda part, a: torch.stack([f(own) for f, own in zip(modules[part], a, strict=True)]))
        order = self._order
        statistics = None if self.training else (self.running_mean[order], self.running_var[order])
        operation = PlainOperation(self.conv_weight[order], self.norm_weight[order], self.norm_bias[order], statistics, self.eps)
        out = self._scatter(x, weight, operation)
        if self.training and self.momentum:
            count = x[:, :, 0].numel() / self.num_variants
            var, mean = (torch.cat(parts).view(-1, self.channels) for parts in zip(*operation.batch_statistics, strict=True))
            for kept, new in ((self.running_mean, mean), (self.running_var, var * count / (count - 1))):
                kept[order] = torch.lerp(kept[order], new.to(kept.dtype), self.momentum)
        return out

    def _run_modules(self, x: Tensor, modules: nn.ModuleList) -> Tensor:
        walk = self._walk_on("levels", x.device)
        assert isinstance(walk, LevelWalk)
        operation = ModuleOperation([modules[node] for node in self.schedule.order.tolist()])
        return run_modules(walk.plan(x), operation, x, self.weights_in_use()[self._edge_order])

    def extra_repr(self) -> str:
        s = self.schedule
        return (
            f"variants={s.num_variants}, nodes={s.num_nodes}, edges={s.num_edges}, levels={s.num_levels}, channels={self.channels},"
            f" kernel_size={self.kernel_size}, executor={self.executor}, edge_activation={self.edge_activation}"
        )


def _wants_definition() -> bool:
    """Return whether a transform of :mod:`torch.func` is active, for which the other executors' backward passes have no rules, or an
    export, whose program must run without this package.
    """
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    # PyTorch has no public test; a compiled region keeps the choice made when it was traced.
    return torch._C._functorch.peek_interpreter_stack() is not None


def _initial_edge_weight(batch: Data, edge_index: Tensor, nodes: int, edge_activation: str, edge_init: str) -> Tensor:
    dtype = torch.get_default_dtype()
    target = edge_index[1]
    if edge_init == "in_degree":
        weight = degree(target, nodes, dtype=dtype)[target].rsqrt()
    else:
        if "edge_weight" not in batch:
            raise ValueError("edge_init='synapse_count' needs batch.edge_weight, which the graphs lack; use edge_init='in_degree'")
        count = batch.edge_weight.cpu().to(dtype)
        if not bool((torch.isfinite(count) & (count > 0)).all()):
            raise ValueError("edge_init='synapse_count' needs finite, positive synapse counts in batch.edge_weight")
        weight = count / torch.zeros(nodes, dtype=dtype).index_add_(0, target, count.square())[target].sqrt()
    if edge_activation == "sigmoid":
        return torch.logit(weight.clamp(max=0.95))
    if edge_activation == "dale":
        return weight.expm1().log()
    return weight
