"""Copies, moves, precisions, graphs, transforms and modes of regularized models, over the zoo."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from support.plain_loss import plain_loss
from support.references import assert_same_grads, preactivations, reference_loss_and_grads, zoo_reference
from support.zoo import dense, every_architecture, make
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jumpstart import JumpstartRegularization
from jumpstart.capture.recorder import in_graph
from jumpstart.extrema.torch_internals import sole_holder
from jumpstart.monitor import StatusMonitor

LAST = {"tokens": 2, "transformer": 2}
# Small preactivations, large ones (which are tapped), with space, with units last.
SIZES = ("dense", "large-batch", "conv2d-inplace", "tokens")
every_size = pytest.mark.parametrize("name", SIZES)
every_half = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


def grads_of(model: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in model.parameters()]


def is_reference(model: nn.Module, x: Tensor, name: str, loss: Tensor) -> None:
    expected, grads = reference_loss_and_grads(model, x, unit_dim=LAST.get(name, 1))
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    model.zero_grad()
    loss.backward()
    assert_same_grads(grads_of(model), grads[:-1])


# Graphs -------------------------------------------------------------------------------------------


@every_size
def test_a_loss_can_be_used_twice_and_differentiated_twice(name: str) -> None:
    model, x = make(name)
    _, grads = zoo_reference(name, LAST.get(name, 1))
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        (jumpstart.loss + 2 * jumpstart.loss).backward(retain_graph=True)
        jumpstart.loss.backward()  # on top of what is there
        assert_same_grads(grads_of(model), [None if grad is None else 4 * grad for grad in grads[:-1]])
        with pytest.raises(RuntimeError, match="second time"):
            jumpstart.loss.backward()


@every_size
def test_gradients_of_some_inputs_alone(name: str) -> None:
    model, x = make(name)
    x.requires_grad_()
    first = next(iter(model.parameters()))
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        found = torch.autograd.grad(jumpstart.loss, [first, x])
    _, grads = zoo_reference(name, LAST.get(name, 1))
    assert_same_grads(found, [grads[0], grads[-1]])
    assert all(grad is None for grad in grads_of(model))


@every_size
def test_the_task_and_the_loss_can_be_differentiated_one_after_the_other(name: str) -> None:
    model, x = make(name)
    bare = copy.deepcopy(model)
    bare(x).square().sum().backward()
    _, penalty = zoo_reference(name, LAST.get(name, 1))
    expected = [a.grad if b is None else a.grad + b for a, b in zip(bare.parameters(), penalty[:-1], strict=True)]
    for task_first in (True, False):
        model.zero_grad()
        with JumpstartRegularization(model) as jumpstart:
            losses = [model(x).square().sum(), jumpstart.loss]
            for loss in losses if task_first else losses[::-1]:
                loss.backward(retain_graph=True)
        assert_same_grads(grads_of(model), expected)


def test_two_regularized_models_do_not_affect_each_other() -> None:
    (one, x), (two, y) = make("dense"), make("conv2d")
    with JumpstartRegularization(one) as first, JumpstartRegularization(two) as second:
        one(x)
        two(y)
        one(2 * x)
        total = first.loss + second.loss
        total.backward()
    _, grads = reference_loss_and_grads(one, 2 * x)
    assert_same_grads(grads_of(one), grads[:-1])
    _, grads = reference_loss_and_grads(two, y)
    assert_same_grads(grads_of(two), grads[:-1])


def test_the_output_of_one_regularized_model_can_be_the_input_of_another() -> None:
    (one, x), two = make("tokens"), make("tokens")[0]
    with JumpstartRegularization(one) as first, JumpstartRegularization(two) as second:
        two(one(x))
        loss = first.loss + second.loss
    both = nn.Sequential(one, two)
    alone, _ = reference_loss_and_grads(one, x, unit_dim=2)
    expected, _ = reference_loss_and_grads(two, one(x).detach(), unit_dim=2)
    assert loss.item() == pytest.approx(alone + expected)
    # Equal numbers of units and points in both: the mean over both is the mean of the two.
    is_reference(both, x, "tokens", loss / 2)


# Checkpoints --------------------------------------------------------------------------------------


class Blocks(nn.Module):
    """Checkpointed blocks with in-place activations and large batches."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(dense(2, 4, inplace=True) for _ in range(3))
        self.first, self.between = nn.Linear(3, 3), nn.ModuleList(nn.Linear(2, 3) for _ in range(3))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block, between in zip(self.blocks, self.between, strict=True):
            x = between(checkpoint(block, x, use_reentrant=self.reentrant))
        return x


@pytest.mark.parametrize("rows", [6, 40_000])
def test_checkpointed_blocks_count_once(rows: int) -> None:
    model, x = Blocks(reentrant=False).double(), torch.randn(rows, 3, dtype=torch.float64)
    with JumpstartRegularization(model) as jumpstart:
        output = model(x)
        loss, layers = jumpstart.loss, jumpstart.layers
        assert len(layers) == 6
        (0 * output.sum() + loss).backward()
        assert jumpstart.loss is loss
        assert jumpstart.layers == layers
    twin, _, tensors = preactivations(model, x)
    expected = plain_loss(tensors)
    assert loss.item() == pytest.approx(expected.item())
    twin.zero_grad()
    expected.backward()
    assert_same_grads(grads_of(model), grads_of(twin))


def test_the_first_pass_of_a_process_can_be_checkpointed() -> None:
    sole_holder.cache_clear()  # as in a new process, in which nothing has been saved by hooks of the checkpoint yet
    model, x = dense(2, 4, inplace=True), torch.randn(40_000, 3)
    with JumpstartRegularization(model) as jumpstart:
        (0 * checkpoint(model, x, use_reentrant=False).sum() + jumpstart.loss).backward()
        assert model[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("rows", [6, 40_000])
def test_reentrant_checkpoints_are_refused_at_every_size(rows: int) -> None:
    model = Blocks(reentrant=True)
    with JumpstartRegularization(model) as jumpstart, pytest.raises(RuntimeError, match="use_reentrant=False"):
        model(torch.randn(rows, 3, requires_grad=True))
        _ = jumpstart.loss


def test_a_reentrant_checkpoint_is_refused_after_passes_without_it() -> None:
    model, x = dense(3, 4), torch.randn(6, 3, requires_grad=True)
    with JumpstartRegularization(model) as jumpstart:
        for _ in range(3):
            model(x)
            assert jumpstart.loss.requires_grad
        with pytest.raises(RuntimeError, match="use_reentrant=False"), jumpstart.recording():
            checkpoint(model[:4], x, use_reentrant=True)


# Precision ----------------------------------------------------------------------------------------


@every_half
@every_size
def test_under_autocast_value_and_gradient_are_those_of_float32_sums(name: str, dtype: torch.dtype) -> None:
    model, x = make(name)
    model, x = model.float(), x.float()

    def run(model: nn.Module, x: Tensor) -> object:
        with torch.autocast("cpu", dtype=dtype):
            return model(x)

    twin, _, tensors = preactivations(model, x, run)
    expected = plain_loss(tensors, LAST.get(name, 1))
    expected.backward()
    with JumpstartRegularization(model) as jumpstart:
        run(model, x)
        loss = jumpstart.loss  # outside of autocast: it makes no difference
        assert all(record.unit.dtype == torch.float32 for record in jumpstart.extrema)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    loss.backward()
    # Gradients go through half precision layers: sums of a few roundings.
    assert_same_grads(grads_of(model), grads_of(twin), rtol=0.05)


@pytest.mark.parametrize("around", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_record_has_gradients_and_no_autocast_wherever_it_is_read(around: Callable[[], Any], autocast: bool) -> None:
    def state() -> tuple[bool, ...]:
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")

    with around(), torch.autocast("cpu", enabled=autocast):
        before = state()
        with in_graph("cpu"):
            assert state() == (True, False, False)
        assert state() == before


def test_a_gradient_scaler_does_not_change_the_gradients() -> None:
    model, x = make("dense")
    _, grads = reference_loss_and_grads(model, x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        scaler.scale(jumpstart.loss).backward()
        scaler.unscale_(optimizer)
        assert_same_grads(grads_of(model), grads[:-1])


@every_architecture
def test_a_model_moved_to_another_dtype_after_attaching(name: str) -> None:
    model, x = make(name)
    with JumpstartRegularization(model) as jumpstart:
        model(x)  # in float64, and left pending
        model.float()
        model(x.float())
        assert jumpstart.loss.dtype == torch.float32
        single = jumpstart.loss.item()
        model.double()
        model(x)
        assert jumpstart.loss.dtype == torch.float64
        assert jumpstart.loss.item() == pytest.approx(single, rel=1e-3)
        model.bfloat16()
        model(x.bfloat16())
        assert jumpstart.loss.dtype == torch.float32
        assert jumpstart.loss.item() == pytest.approx(single, rel=0.2)
        jumpstart.loss.backward()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_architecture
def test_a_model_moved_to_a_gpu_after_attaching(name: str) -> None:
    model, x = make(name)
    expected, grads = zoo_reference(name, LAST.get(name, 1))
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        model.cuda()
        model(x.cuda())
        assert jumpstart.loss.device.type == "cuda"
        assert jumpstart.loss.item() == pytest.approx(expected, rel=1e-6)
        jumpstart.loss.backward()
    assert_same_grads([None if grad is None else grad.cpu() for grad in grads_of(model)], grads[:-1])


# Evaluation ---------------------------------------------------------------------------------------


@every_architecture
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_evaluation_has_the_same_loss_and_no_graph(name: str, context: Callable[[], Any]) -> None:
    model, x = make(name)
    model.eval()
    bare = copy.deepcopy(model)
    expected, _ = reference_loss_and_grads(model, x, unit_dim=LAST.get(name, 1))
    with JumpstartRegularization(model) as jumpstart, context():
        output = model(x)
        loss = jumpstart.loss
        plain = bare(x)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert not loss.requires_grad
    if isinstance(output, Tensor):
        assert torch.equal(output, plain)


def test_training_continues_after_evaluation() -> None:
    model, x = make("batchnorm")
    with JumpstartRegularization(model) as jumpstart:
        model.eval()
        with torch.inference_mode():
            model(x)
            _ = jumpstart.loss
        model.train()
        model(x)
        is_reference(model, x, "batchnorm", jumpstart.loss)


# Copies -------------------------------------------------------------------------------------------


def saved_and_loaded(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert isinstance(loaded, nn.Module)
    return loaded


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved_and_loaded])
@every_size
def test_a_copy_made_during_a_step_is_not_regularized_and_does_not_change_the_step(name: str, twin_of: Any) -> None:
    model, x = make(name)
    with JumpstartRegularization(model) as jumpstart:
        output = model(x)
        early = twin_of(model)  # nothing is read yet
        loss = jumpstart.loss
        late = twin_of(model)
        early(2 * x), late(3 * x)
        assert jumpstart.loss is loss
        is_reference(model, x, name, loss)
    for twin in (early, late):
        assert torch.equal(twin(x), output)
        with JumpstartRegularization(twin) as other:
            twin(x)
            is_reference(twin, x, name, other.loss)


def test_weights_are_saved_and_loaded_under_the_same_names() -> None:
    model, x = make("dense")
    names = list(model.state_dict())
    with JumpstartRegularization(model) as jumpstart:
        assert list(model.state_dict()) == names
        other = dense().double()
        model.load_state_dict(other.state_dict())
        model(x)
        assert jumpstart.loss.item() == pytest.approx(reference_loss_and_grads(other, x)[0])


# Parallel -----------------------------------------------------------------------------------------


def test_a_replica_of_data_parallel_is_refused() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model):
        replica = model._replicate_for_data_parallel()  # what DataParallel runs on each GPU
        with pytest.raises(RuntimeError, match="DistributedDataParallel"):
            replica(x)


# Transforms ---------------------------------------------------------------------------------------


def test_per_sample_gradients_equal_a_loop_over_the_samples() -> None:
    model, x = make("dense")
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    with JumpstartRegularization(model) as jumpstart:

        def loss(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
            torch.func.functional_call(model, parameters, (row.unsqueeze(0),))
            return jumpstart.loss

        found = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    for i in range(len(x)):
        _, grads = reference_loss_and_grads(model, x[i : i + 1])
        assert_same_grads([grad[i] for grad in found.values()], grads[:-1])


def test_a_compiled_step_at_other_sizes() -> None:
    model, x = make("conv2d-inplace")
    torch._dynamo.reset()
    with JumpstartRegularization(model) as jumpstart:

        @torch.compile(backend="eager", fullgraph=True)
        def step(x: Tensor) -> Tensor:
            model(x)
            return jumpstart.loss

        for rows in (len(x), len(x) - 1):  # the last batch of an epoch
            is_reference(model, x[:rows], "conv2d-inplace", step(x[:rows]))


def test_a_model_compiled_in_place_after_attaching() -> None:
    model, x = dense(2).double(), torch.randn(7, 3, dtype=torch.float64)
    plain = copy.deepcopy(model)
    torch._dynamo.reset()
    with JumpstartRegularization(model) as jumpstart:
        model.compile(backend="aot_eager", fullgraph=True)
        model(x)
        loss = jumpstart.loss
        expected, grads = reference_loss_and_grads(plain, x)
        assert loss.item() == pytest.approx(expected)
        loss.backward()
        assert_same_grads(grads_of(model), grads[:-1])


@pytest.mark.parametrize("name", ["tokens", "flattened", "slice"])
def test_in_place_activations_write_into_views_too(name: str, path: str) -> None:
    class Slice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :5]

    before: dict[str, list[nn.Module]] = {
        "tokens": [nn.Linear(3, 6)],
        "flattened": [nn.Conv1d(4, 2, 1), nn.Flatten()],
        "slice": [nn.Flatten(), nn.Linear(12, 6), Slice()],
    }
    model = nn.Sequential(*before[name], nn.ReLU(inplace=True))
    x = torch.randn(7, 4, 3)
    is_dense = name == "tokens"
    expected, grads = reference_loss_and_grads(model, x, unit_dim=2 if is_dense else 1)
    plain = copy.deepcopy(model)(x)
    with JumpstartRegularization(model) as jumpstart:
        output = model(x)
        assert torch.equal(output, plain)
        assert jumpstart.loss.item() == pytest.approx(expected, rel=1e-6)
        jumpstart.loss.backward()
    assert_same_grads(grads_of(model), grads[:-1])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_default_device_changes_nothing(memory_format: torch.memory_format) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)).to(memory_format=memory_format)  # type: ignore[call-overload]
    x = torch.randn(6, 3, 5, 5).to(memory_format=memory_format)
    losses, grads = [], []
    for device in ("cpu", "meta"):
        model.zero_grad()
        with torch.device(device), JumpstartRegularization(model) as jumpstart, StatusMonitor(model) as monitor:
            model(x)
            jumpstart.loss.backward()
            losses.append((jumpstart.loss.item(), monitor.numbers()["unit_loss"]))
        grads.append(grads_of(model))
    assert losses[0] == losses[1]
    assert_same_grads(grads[1], grads[0])
