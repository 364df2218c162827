"""Stacked classifiers against torch.nn and torch.optim."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from gtn_rl.agents.classifier import Group, Lesson, draw, fit, parse_group
from gtn_rl.agents.cnn import CNN
from gtn_rl.errors import UsageError

F64 = torch.float64


def lesson(generator, steps, batch, features, classes):
    inputs = torch.randn(steps, 1, batch, features, generator=generator, dtype=F64)
    labels = torch.randint(classes, (steps, 1, batch), generator=generator)
    rate = 0.05 + 0.1 * torch.rand(steps, generator=generator, dtype=F64)
    momentum = torch.rand(steps, generator=generator, dtype=F64)
    return Lesson(inputs, F.one_hot(labels, classes).to(F64), rate, momentum)


def train(module, told):
    """What `fit` does, by torch."""
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0, momentum=0.5)
    for inputs, targets, rate, momentum in zip(*told, strict=True):
        optimizer.param_groups[0].update(lr=float(rate), momentum=float(momentum))
        optimizer.zero_grad()
        F.cross_entropy(module(inputs[0]), targets[0]).backward()
        optimizer.step()


def module_of(network, row):
    """The same network made of torch.nn layers."""
    if not isinstance(network, CNN):
        layers = []
        for weight, bias in network.layers(row[None]):
            linear = nn.Linear(*weight.shape[1:], dtype=F64)
            linear.weight.data, linear.bias.data = weight[0].T.clone(), bias[0, 0].clone()
            layers += [linear, nn.ReLU()]
        return nn.Sequential(*layers[:-1])
    convolution = nn.Conv1d if len(network.shape) == 2 else nn.Conv2d
    layers, start, channels = [nn.Unflatten(1, network.shape)], 0, network.shape[0]

    def take(tensor, transpose=False):
        nonlocal start
        values = row[start : start + tensor.numel()]
        start += tensor.numel()
        shape = tensor.T.shape if transpose else tensor.shape
        tensor.data = (values.view(shape).T if transpose else values.view(shape)).clone()

    for out in network.channels:
        layer = convolution(channels, out, network.kernel, 2, network.kernel // 2, dtype=F64)
        take(layer.weight)
        take(layer.bias)
        layers += [layer, nn.ReLU()]
        channels = out
    linear = nn.Linear(channels * network.pixels, network.outputs, dtype=F64)
    take(linear.weight, transpose=True)
    take(linear.bias)
    return nn.Sequential(*layers, nn.Flatten(), linear)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("3xmlp@relu:7-5", (12,)),
        ("3xcnn3@relu:4-3", (2, 9)),
        ("3xcnn5@relu:4", (1, 7, 6)),
    ],
)
def test_training_is_that_of_torch_nn_and_torch_optim(text, shape, generator):
    classifiers = draw(parse_group(text), shape, 3, generator=generator, dtype=F64)
    told = lesson(generator, 5, 6, torch.Size(shape).numel(), 3)
    (trained,) = fit(classifiers, told)
    exam = torch.randn(1, 8, torch.Size(shape).numel(), generator=generator, dtype=F64)
    for row in range(3):
        module = module_of(classifiers.network, classifiers.parameters[row])
        train(module, told)
        torch.testing.assert_close(trained.logits(exam)[row], module(exam[0]))


@pytest.mark.parametrize(("text", "shape"), [("2xmlp@relu:7", (12,)), ("2xcnn3@relu:4", (2, 9))])
def test_normalised_weights_train_as_those_of_torch(text, shape, generator):
    told = lesson(generator, 5, 6, torch.Size(shape).numel(), 3)
    classifiers = draw(
        parse_group(text), shape, 3, generator=generator, dtype=F64, weight_norm=True
    )
    (trained,) = fit(classifiers, told)
    exam = torch.randn(1, 8, torch.Size(shape).numel(), generator=generator, dtype=F64)
    plain = classifiers.network.network
    start = plain(classifiers.parameters[:, : plain.num_parameters], exam.expand(2, -1, -1))
    torch.testing.assert_close(classifiers.logits(exam), start)
    for row in range(2):
        module = module_of(plain, classifiers.parameters[row, : plain.num_parameters])
        for layer in module:
            if hasattr(layer, "weight"):
                weight_norm(layer)
        train(module, told)
        torch.testing.assert_close(trained.logits(exam)[row], module(exam[0]))


@pytest.mark.parametrize("text", ["4xmlp@tanh:2..9", "4xcnn3@relu:2..9-3..8"])
def test_dead_units_have_no_say_in_normalised_networks(text, generator):
    """Their weights have no direction, and nothing may become of that."""
    classifiers = draw(
        parse_group(text), (1, 10), 3, generator=generator, dtype=F64, weight_norm=True
    )
    told = lesson(generator, 4, 8, 10, 3)
    inputs = told.inputs.requires_grad_()
    (trained,) = fit(classifiers, told, create_graph=True)
    (gradient,) = torch.autograd.grad(trained.parameters.square().sum(), inputs)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    # Lengths of dead units start at 1 and stay there: nothing comes of them.
    lengths = classifiers.network.network.num_parameters
    before, after = (stack.parameters[:, lengths:] for stack in (classifiers, trained))
    assert (before == 1).any()
    torch.testing.assert_close(after[before == 1], before[before == 1])


@pytest.mark.parametrize("text", ["6xmlp@tanh:2..9-3..8", "6xcnn3@relu:2..9-3..8"])
def test_narrow_classifiers_stay_narrow_in_training(text, generator):
    classifiers = draw(parse_group(text), (1, 10), 3, generator=generator, dtype=F64)
    (trained,) = fit(classifiers, lesson(generator, 6, 8, 10, 3))
    before, after = classifiers.parameters, trained.parameters
    biases = 9 + 8 + 3
    alive = (before != 0).sum(1)
    assert alive.min() < alive.max()
    # Whatever weight a dead unit has stays exactly 0; only biases, which start at 0, wake up.
    assert ((after != 0).sum(1) <= alive + biases).all()
    assert ((after != before).sum(1) > 0).all()


def test_weights_start_with_hes_deviation(generator):
    group = Group(4, 0, "relu", ((50, 50), (400, 400)))
    network = draw(group, (200,), 10, generator=generator)
    (first, bias), (second, _), (last, _) = network.network.layers(network.parameters)
    assert float(first.std()) == pytest.approx((2 / 200) ** 0.5, rel=0.03)
    assert float(second.std()) == pytest.approx((2 / 50) ** 0.5, rel=0.03)
    assert float(last.std()) == pytest.approx((1 / 400) ** 0.5, rel=0.03)
    assert float(bias.abs().max()) == 0


def test_kept_steps_are_those_of_shorter_trainings(generator):
    classifiers = draw(parse_group("2xmlp@relu:5"), (4,), 3, generator=generator, dtype=F64)
    told = lesson(generator, 6, 4, 4, 3)
    kept = fit(classifiers, told, keep={2, 5})
    assert len(kept) == 3
    for steps, stack in zip((2, 5, 6), kept, strict=True):
        (short,) = fit(classifiers, Lesson(*(field[:steps] for field in told)))
        torch.testing.assert_close(stack.parameters, short.parameters)


@pytest.mark.parametrize("segment", [1, 2, 4])
def test_gradient_checkpointing_changes_no_gradient(segment, generator):
    classifiers = draw(parse_group("2xcnn3@tanh:3"), (1, 6), 3, generator=generator, dtype=F64)
    told = lesson(generator, 5, 4, 6, 3)

    def gradient(segment):
        fields = [told.inputs, told.learning_rate, told.momentum]
        leaves = [field.clone().requires_grad_() for field in fields]
        (trained,) = fit(
            classifiers,
            Lesson(leaves[0], told.targets, *leaves[1:]),
            create_graph=True,
            segment=segment,
        )
        return torch.autograd.grad(trained.parameters.square().sum(), leaves)

    for whole, parts in zip(gradient(0), gradient(segment), strict=True):
        assert whole.abs().max() > 0
        torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mlp:64", "not of the form"),
        ("2xmlp@sigmoid:64", "unknown activation"),
        ("0xmlp@relu:64", "above 0"),
        ("mlp@relu:9..4", "low..high"),
        ("cnn4@relu:8", "odd"),
    ],
)
def test_what_is_no_group_is_said(text, message):
    with pytest.raises(UsageError, match=message):
        parse_group(text)


def test_a_cnn_wants_inputs_with_channels(generator):
    with pytest.raises(UsageError, match="use an MLP"):
        draw(parse_group("cnn@relu:8"), (64,), 10, generator=generator)
