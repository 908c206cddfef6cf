"""The context that leaves no trace, used by itself."""

import collections
import functools
import os
import random
import signal
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from phasescope.recording import alone, untouched
from phasescope.recording.untouched import has_running_statistics, plain_kernels, quiet


class Everything(nn.Module):
    """Holds one thing of each kind that a forward pass may change."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.embedding = nn.Embedding(6, 4, max_norm=0.1)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("cache", torch.zeros(3))
        self.plain, self.log, self.table, self.seen = torch.zeros(3), [1, [2]], {"a": torch.ones(2)}, {1}
        self.recent = collections.deque([1, 2], maxlen=4)
        self.lazy = nn.LazyLinear(3)
        self.sources = torch.Generator().manual_seed(1), np.random.default_rng(1), random.Random(1)
        self.hidden = [nn.Linear(2, 2)]
        self.layer.weight.grad = torch.ones(4, 4)


def bits(value):
    if isinstance(value, torch.Tensor):
        with torch._C.DisableTorchFunctionSubclass():
            plain = value.detach()
            grad = None if not value.is_leaf or value.grad is None else bits(value.grad)
            place = tuple(plain.shape), plain.stride(), plain.dtype, torch._C._data_address(plain)
            version = None if value.is_inference() else value._version
            return (
                id(value),
                type(value),
                plain.tolist(),
                place,
                version,
                value.requires_grad,
                value.is_leaf,
                grad,
            )
    if isinstance(value, dict):
        return id(value), [(key, bits(part)) for key, part in value.items()]
    if isinstance(value, (list, tuple, collections.deque)):
        return id(value), [bits(part) for part in value]
    if isinstance(value, set):
        return id(value), sorted(value)
    if isinstance(value, torch.Generator):
        return value.get_state().tolist()
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, random.Random):
        return value.getstate()
    return trace(value) if isinstance(value, nn.Module) else value


def trace(model):
    """Return everything of a model that could have changed, down to addresses and versions."""
    return type(model), [(key, bits(value)) for key, value in vars(model).items()]


WAYS = {
    "in place": lambda m: m.layer.weight.add_(1),
    "in place, past autograd": lambda m: m.layer.weight.data.mul_(2),
    "data replaced": lambda m: setattr(m.layer.weight, "data", m.layer.weight.data / m.layer.weight.norm()),
    "data of another shape": lambda m: setattr(m.layer.weight, "data", torch.ones(7)),
    "through numpy": lambda m: m.layer.weight.detach().numpy().fill(3),
    "through a view": lambda m: m.layer.weight.detach().view(-1)[3:5].zero_(),
    "through memory": lambda m: m.layer.weight.untyped_storage().fill_(0),
    "through a protocol": lambda m: torch.from_dlpack(m.layer.weight.detach()).fill_(2),
    "max_norm": lambda m: m.embedding(torch.tensor([1, 2])),
    "many at once": lambda m: torch._foreach_add_([m.layer.weight, m.layer.bias], 1),
    "set_": lambda m: m.layer.weight.set_(torch.ones(2).untyped_storage()),
    "parameter replaced": lambda m: setattr(m.layer, "weight", nn.Parameter(torch.ones(4, 4))),
    "parameter removed": lambda m: delattr(m.layer, "bias"),
    "parameter added": lambda m: m.layer.register_parameter("extra", nn.Parameter(torch.ones(1))),
    "frozen parameter": lambda m: m.frozen.requires_grad_(True).data.zero_(),
    "history": lambda m: m.layer.bias.add_(torch.ones(4, requires_grad=True)),
    "gradient": lambda m: m.layer.weight.grad.zero_(),
    "gradient dropped": lambda m: m.zero_grad(),
    "buffer": lambda m: m.norm(torch.ones(3, 4)),
    "buffer resized": lambda m: m.cache.resize_(50).fill_(1),
    "buffer replaced": lambda m: setattr(m, "cache", torch.ones(1)),
    "plain tensor": lambda m: m.plain.add_(1),
    "tensor in a dict": lambda m: m.table["a"].add_(1),
    "list": lambda m: m.log.append(1),
    "list in a list": lambda m: m.log[1].clear(),
    "dict": lambda m: m.table.pop("a"),
    "set": lambda m: m.seen.add(5),
    "deque": lambda m: m.recent.append(3),
    "attribute": lambda m: setattr(m, "note", "left behind"),
    "attribute removed": lambda m: delattr(m, "plain"),
    "mode": lambda m: m.eval(),
    "hook": lambda m: m.layer.register_forward_hook(lambda *_: None),
    "child": lambda m: m.add_module("child", nn.Linear(2, 2)),
    "class": lambda m: setattr(m.layer, "__class__", nn.Bilinear),
    "parametrisation": lambda m: parametrizations.weight_norm(m.layer),
    "lazy layer": lambda m: m.lazy(torch.ones(2, 5)),
    "torch generator": lambda m: torch.rand(1, generator=m.sources[0]),
    "numpy generator": lambda m: m.sources[1].random(),
    "Python generator": lambda m: m.sources[2].random(),
    "a module in a list": lambda m: m.hidden[0].weight.zero_(),
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_forward_changes_is_as_it_was_afterwards(way):
    model = Everything()
    before = trace(model)
    with untouched(model):
        inside = trace(model)
        with torch.enable_grad() if way == "history" else torch.no_grad():
            WAYS[way](model)
        assert trace(model) != inside
    assert trace(model) == before


def test_large_buffers_and_gradients_are_not_copied_either():
    model = nn.Linear(600, 600)
    model.register_buffer("table", torch.zeros(600, 600))
    model.weight.grad = torch.ones(600, 600)
    tensors = model.table, model.weight.grad
    places = [torch._C._data_address(tensor) for tensor in tensors]
    with untouched(model):
        assert [torch._C._data_address(tensor) for tensor in tensors] == places
        model.table.add_(1)
        model.weight.grad.add_(1)
    assert [tensor.data_ptr() for tensor in tensors] == places
    assert [float(tensor.max()) for tensor in tensors] == [0, 1]


def test_no_weight_is_copied_where_nothing_is_written():
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2))
    places = [torch._C._data_address(p) for p in model.parameters()]
    with untouched(model):
        model(torch.randn(3, 8, requires_grad=True)).sum().backward()
        assert [torch._C._data_address(p) for p in model.parameters()] == places
    assert [p.data_ptr() for p in model.parameters()] == places
    assert not any(torch._C._is_cow_tensor(p) for p in model.parameters())


def test_a_view_that_outlives_the_context_does_not_move_the_weights():
    model = nn.Linear(3, 3)
    place, values = model.weight.data_ptr(), model.weight.detach().clone()
    with untouched(model):
        kept = model.weight.detach().t()
    model.weight.data.add_(1)
    assert model.weight.data_ptr() == place
    assert torch.equal(kept.t(), values)


@pytest.mark.parametrize("memory", ["numpy", "shared"])
def test_memory_that_torch_does_not_own_is_restored_too(memory):
    model, values = nn.Linear(3, 3), np.ones((3, 3), dtype=np.float32)
    model.weight.data = torch.from_numpy(values) if memory == "numpy" else torch.ones(3, 3).share_memory_()
    place = model.weight.data_ptr()
    with untouched(model), torch.no_grad():
        model.weight.add_(1)
    assert model.weight.data_ptr() == place
    assert torch.equal(model.weight, torch.ones(3, 3))
    assert (values == 1).all()


def test_tensors_that_share_memory_share_it_inside():
    flat = torch.zeros(6)
    model = nn.Module()
    model.one, model.two = nn.Parameter(flat[:4]), nn.Parameter(flat[2:])
    model.register_buffer("all", flat)
    with untouched(model), torch.no_grad():
        model.one.add_(1)
        assert model.two.tolist() == [1, 1, 0, 0]
        assert model.all.tolist() == [1, 1, 1, 1, 0, 0]
    assert flat.tolist() == [0] * 6


def test_parameters_that_are_meant_to_be_set_stay_set():
    model = nn.BatchNorm1d(2)
    with untouched(model, parameters=False), torch.no_grad():
        model.weight.fill_(3)
        model.running_mean.fill_(3)
    assert model.weight.tolist() == [3, 3]
    assert model.running_mean.tolist() == [0, 0]
    assert model.weight.requires_grad


def test_a_pending_backward_pass_gives_the_same_gradients():
    def loss_of():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).eval()
        return model, model(torch.randn(5, 4)).square().sum()

    model, loss = loss_of()
    loss.backward()
    other, pending = loss_of()
    with untouched(other), torch.no_grad():
        for tensor in [*other.parameters(), *other.buffers()]:
            tensor.mul_(2)
    pending.backward()
    assert all(
        torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), other.parameters(), strict=True)
    )


def test_expanded_and_overlapping_buffers_stop_nothing():
    model = nn.Linear(2, 2)
    model.register_buffer("expanded", torch.zeros(1).expand(5))
    model.register_buffer("overlapping", torch.arange(10.0).as_strided((3, 4), (2, 1)))
    before = trace(model)
    with untouched(model):
        model.expanded.data = torch.ones(5)
        model.overlapping.untyped_storage().fill_(0)
    assert trace(model) == before


@pytest.mark.parametrize("kind", [nn.Linear, nn.LSTM])
def test_a_model_built_in_inference_mode_has_derivatives_inside_and_is_left_as_it_was(kind):
    with torch.inference_mode():
        model = nn.Sequential(kind(3, 3))
    before, x = trace(model), torch.randn(4, 2, 3, requires_grad=True)
    with untouched(model), torch.enable_grad():
        output = model(x)
        (output[0] if kind is nn.LSTM else output).sum().backward()
        model[0].requires_grad_(True)
        next(model.parameters()).data.zero_()
    assert x.grad.abs().sum() > 0
    assert trace(model) == before


class Stubborn(dict):
    def clear(self):
        raise OSError("read only")


def spoil(model, failure):
    with untouched(model):
        model.table["more"] = 1
        model.eval()
        model.layer.weight.data.zero_()
        torch.backends.mha.set_fastpath_enabled(True)
        if failure is not None:
            raise failure


@pytest.mark.parametrize("failure", [None, ValueError("the first")])
def test_what_cannot_be_restored_is_named_and_stops_nothing_else(failure):
    model = Everything()
    model.table = Stubborn()
    before, random_state = trace(model), torch.get_rng_state()
    with pytest.raises(
        RuntimeError, match=r"Not restored as it was: table \(OSError: read only\)\."
    ) as caught:
        spoil(model, failure)
    assert caught.value.__cause__ is failure if failure else isinstance(caught.value.__cause__, OSError)
    del model.table["more"]
    assert trace(model) == before
    assert torch.equal(torch.get_rng_state(), random_state)


def test_an_interrupt_stays_one_where_something_cannot_be_restored():
    model = Everything()
    model.table = Stubborn()
    with pytest.raises(KeyboardInterrupt) as caught:
        spoil(model, KeyboardInterrupt())
    assert "table" in caught.value.__notes__[0]


class Interrupting(list):
    def clear(self):
        signal.raise_signal(signal.SIGINT)
        super().clear()


def spoil_a_list(model):
    with untouched(model):
        model.log.append(2)
        model.norm.running_mean.add_(1)
        model.eval()


def test_an_interrupt_while_restoring_waits_until_all_is_restored():
    model = Everything()
    model.log = Interrupting([1])
    before, handler = trace(model), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        spoil_a_list(model)
    assert trace(model) == before
    assert signal.getsignal(signal.SIGINT) is handler


TEACHER = nn.BatchNorm1d(3)


def through_a_global(x):
    return TEACHER(x)


class Policy:
    def __init__(self):
        self.teacher = TEACHER

    def act(self, x):
        return self.teacher(x)

    __call__ = act


@pytest.mark.parametrize(
    "function",
    [
        through_a_global,
        lambda x, teacher=TEACHER: teacher(x),
        functools.partial(lambda teacher, x: teacher(x), TEACHER),
        Policy(),
        Policy().act,
        (lambda several: lambda x: several[0](x))([TEACHER]),
    ],
)
def test_modules_behind_a_function_are_left_alone(function):
    model = nn.Module()
    model.function = function
    before = trace(TEACHER)
    with untouched(model):
        model.function(torch.randn(4, 3) + 5)
        assert not TEACHER.weight.requires_grad
    assert trace(TEACHER) == before


def test_lists_of_whoever_watches_the_model_are_kept():
    model, seen = nn.Linear(2, 2), []
    model.register_forward_hook(lambda *_: seen.append(1))
    with untouched(model):
        model(torch.ones(1, 2))
    assert seen == [1]


def test_contexts_nest():
    model = nn.BatchNorm1d(2)
    before = trace(model)
    with untouched(model):
        model.weight.data.fill_(2)
        with untouched(model):
            model.weight.data.fill_(3)
            model(torch.randn(3, 2))
        assert model.weight.tolist() == [2, 2]
        assert model.running_mean.tolist() == [0, 0]
    assert trace(model) == before


def switches():
    cuda = torch.backends.cuda
    attention = cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()
    mkldnn, cudnn = torch._C._get_mkldnn_enabled(), torch.backends.cudnn.enabled
    return attention, mkldnn, cudnn, torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("second", [untouched, alone, lambda _: plain_kernels(recurrent=True)])
@pytest.mark.parametrize("shared", [True, False])
def test_a_second_thread_waits_and_everything_is_as_it_was_after_both(shared, second):
    model = nn.LSTM(2, 2)
    other = model if shared else nn.LSTM(2, 2)
    before = switches(), trace(model), trace(other)
    waiting, entered = threading.Event(), threading.Event()
    seen = []

    def work():
        waiting.set()
        with second(other) if second is not alone else alone():
            seen.append(all(p.requires_grad for p in model.parameters()))
            entered.set()

    thread = threading.Thread(target=work)
    with untouched(model):
        thread.start()
        assert waiting.wait(10)
        assert not entered.wait(0.05)
        torch.manual_seed(5)
    thread.join(10)
    assert entered.is_set()
    # What belongs to the first thread was put back before the second came in.
    assert seen == [second is not untouched or not shared]
    assert (switches(), trace(model), trace(other)) == before


def test_many_threads_leave_no_trace():
    models = [nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(2)]
    before, state = [trace(m) for m in models], (switches(), torch.get_rng_state().tolist())
    found = []

    def work(number):
        for _ in range(3):
            with untouched(models[number % 2]):
                torch.manual_seed(0)
                found.append(float(models[number % 2](torch.randn(4, 3)).square().sum()))
                quiet(models[number % 2])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert len(set(found)) == 2
    assert [trace(m) for m in models] == before
    assert (switches(), torch.get_rng_state().tolist()) == state


def test_an_interrupt_ends_the_waiting_for_another_thread():
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with alone():
            inside.set()
            leave.wait(10)

    def interrupt():
        time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    holder, interrupter = threading.Thread(target=hold), threading.Thread(target=interrupt)
    holder.start()
    inside.wait(10)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt), untouched(nn.Linear(1, 1)):
        pass
    assert holder.is_alive()
    leave.set()
    holder.join()
    interrupter.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking a process with threads
def test_a_forked_process_does_not_wait_for_a_thread_that_it_has_not():
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with alone():
            inside.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(10)
    child = os.fork()
    if not child:
        signal.alarm(10)
        with alone():
            os._exit(0)
    leave.set()
    holder.join()
    assert os.waitpid(child, 0)[1] == 0


def misuse(model):
    with untouched(model):
        model(torch.randn(3, 4))
        model[1].running_mean.add_(5)
        model[1].register_buffer("extra", torch.zeros(1))
        model[1].running_var = torch.zeros(4)
        model[0].note = "left behind"
        model[0].register_forward_hook(lambda *_: None)
        model.eval()
        torch.rand(3)
        torch.set_default_dtype(torch.float64)
        raise KeyboardInterrupt


def test_what_is_changed_inside_is_put_back():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model(torch.randn(3, 4)).sum().backward()
    mean, gradient, rng = model[1].running_mean, model[0].weight.grad, torch.get_rng_state()
    value, kept = mean.clone(), gradient.clone()
    with pytest.raises(KeyboardInterrupt):
        misuse(model)
    assert model[1].running_mean is mean
    assert torch.equal(mean, value)
    assert "extra" not in dict(model.named_buffers())
    assert not torch.equal(model[1].running_var, torch.zeros(4))
    assert model[0].weight.grad is gradient
    assert torch.equal(gradient, kept)
    assert not hasattr(model[0], "note")
    assert not model[0]._forward_hooks
    assert model.training
    assert model[0].training
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.get_default_dtype() == torch.float32
    assert all(p.requires_grad for p in model.parameters())


def test_parameters_ask_for_no_gradient_inside():
    model = nn.Linear(2, 2)
    with untouched(model):
        assert not model(torch.randn(1, 2)).requires_grad
    assert model(torch.randn(1, 2)).requires_grad


class Own(nn.Module):
    """A layer that drops by its own rate, adds noise in training, and counts its calls."""

    def __init__(self, rate=0.5):
        super().__init__()
        self.attention_dropout = rate
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        x = nn.functional.dropout(x, self.attention_dropout, self.training)
        return x + self.calls if self.training else -x


class StochasticDepth(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return x * torch.bernoulli(torch.full((len(x), 1), 1 - self.p)) if self.training else x


def test_quiet_switches_off_dropout_and_nothing_else():
    parts = {
        "drop": nn.Dropout(),
        "norm": nn.BatchNorm1d(2),
        "plain": nn.LayerNorm(2),
        "depth": StochasticDepth(0.3),
        "own": Own(),
        "lstm": nn.LSTM(2, 2, 2, dropout=0.4),
        "head": nn.MultiheadAttention(2, 1, dropout=0.1),
    }
    model = nn.ModuleDict(parts).train()
    with untouched(model):
        (note,) = quiet(model)
        assert "5 modules, first drop" in note
        assert [name for name, part in parts.items() if not part.training] == ["drop", "depth"]
        assert model["own"].attention_dropout == model["lstm"].dropout == model["head"].dropout == 0
        before = model["norm"].running_mean.clone()
        model["norm"](torch.randn(5, 2) + 3)
        assert torch.equal(model["norm"].running_mean, before)
    assert all(part.training for part in parts.values())
    assert model["norm"].momentum == 0.1
    assert (model["own"].attention_dropout, model["lstm"].dropout) == (0.5, 0.4)
    assert not model._forward_pre_hooks


def test_quiet_switches_off_dropout_whose_rate_another_module_reads():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn_dropout = nn.Dropout(0.5)

        def forward(self, x):
            rate = self.attn_dropout.p if self.training else 0.0
            return nn.functional.dropout(x, rate)

    model = nn.Sequential(Attention()).train()
    with untouched(model):
        assert quiet(model) == ["dropout was switched off while measuring (1 module, first 0.attn_dropout)"]
        assert torch.equal(model(torch.ones(50)), torch.ones(50))
    assert model[0].attn_dropout.p == 0.5


def test_quiet_says_nothing_of_dropout_that_is_off():
    with untouched(model := nn.Sequential(nn.Dropout(), Own(), nn.LSTM(2, 2)).eval()):
        assert quiet(model) == []
    with untouched(model := nn.Sequential(nn.Dropout(0.0), Own(0.0)).train()):
        assert quiet(model) == []


def test_every_pass_starts_from_the_same_buffers():
    model = nn.Sequential(Own(), nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))).train()
    x, calls = torch.randn(3, 4), model[0].calls
    with untouched(model):
        quiet(model)
        first, second = model(x), model(x)
        model[0].calls = torch.ones(())
        third = model(x)
        assert torch.equal(first, second)
        assert torch.equal(first, third)
    assert model[0].calls is calls
    assert calls == 0


def test_running_statistics_are_recognised():
    assert has_running_statistics(nn.BatchNorm2d(3))
    assert not has_running_statistics(nn.BatchNorm2d(3, track_running_stats=False))
    assert not has_running_statistics(nn.LayerNorm(3))
