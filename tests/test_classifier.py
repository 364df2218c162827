"""Stacked classifiers against torch.nn and torch.optim."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from gtn_rl.agents.classifier import Lesson, draw, fit
from gtn_rl.agents.cnn import CNN
from gtn_rl.agents.spec import Group, parse_group
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
    plane = len(network.shape) == 3
    convolution, pool = (nn.Conv2d, nn.AvgPool2d) if plane else (nn.Conv1d, nn.AvgPool1d)
    scales = row[-sum(network.channels) :].split(network.channels) if network.norm else ()
    layers, start, channels = [nn.Unflatten(1, network.shape)], 0, network.shape[0]

    def take(tensor, transpose=False):
        nonlocal start
        values = row[start : start + tensor.numel()]
        start += tensor.numel()
        shape = tensor.T.shape if transpose else tensor.shape
        tensor.data = (values.view(shape).T if transpose else values.view(shape)).clone()

    for index, out in enumerate(network.channels):
        layer = convolution(
            channels, out, network.kernel, 1 if network.pool else 2, network.kernel // 2,
            bias=not network.norm, dtype=F64,
        )  # fmt: skip
        take(layer.weight)
        layers.append(layer)
        if network.norm == "in":
            instance = nn.InstanceNorm2d if plane else nn.InstanceNorm1d
            layers.append(instance(out, affine=True, dtype=F64))
        elif network.norm:
            layers.append(nn.GroupNorm(4, out, dtype=F64))
        if network.norm:
            layers[-1].weight.data = scales[index].clone()
        take(layers[-1].bias)
        layers += [nn.ReLU(), *([pool(2)] if network.pool else [])]
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
        ("3xcnn3+in@relu:4-3", (2, 9)),
        ("3xcnn3+in+pool@relu:4-3", (1, 9, 6)),
        ("3xcnn3+gn+pool@relu:4-8", (2, 9, 8)),
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


@pytest.mark.parametrize(
    ("text", "shape"),
    [("2xmlp@relu:7", (12,)), ("2xcnn3@relu:4", (2, 9)), ("2xcnn3+in@relu:4", (2, 9))],
)
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
            if hasattr(layer, "weight") and layer.weight.dim() > 1:
                weight_norm(layer)
        train(module, told)
        torch.testing.assert_close(trained.logits(exam)[row], module(exam[0]))


def test_depth_and_widths_are_drawn_anew(generator):
    group, seen = parse_group("2xcnn3@relu:2..5-3*1..3"), set()
    for _ in range(100):
        drawn = draw(group, (1, 32), 3, generator=generator)
        first, *others = drawn.network.channels
        assert set(others) == {3}
        assert drawn.parameters.shape == (2, drawn.network.num_parameters)
        assert not torch.equal(*drawn.parameters)
        seen.add((first, len(others)))
    assert seen == {(width, depth) for width in range(2, 6) for depth in range(1, 4)}


def test_weights_start_with_hes_deviation(generator):
    group = Group(4, 0, "relu", ((50, 50, 1, 1), (400, 400, 1, 1)))
    network = draw(group, (200,), 10, generator=generator)
    (first, bias), (second, _), (last, _) = network.network.layers(network.parameters)
    assert float(first.std()) == pytest.approx((2 / 200) ** 0.5, rel=0.03)
    assert float(second.std()) == pytest.approx((2 / 50) ** 0.5, rel=0.03)
    assert float(last.std()) == pytest.approx(0.01 / 400**0.5, rel=0.03)
    assert float(bias.abs().max()) == 0


def test_kept_steps_are_those_of_shorter_trainings(generator):
    classifiers = draw(parse_group("2xmlp@relu:5"), (4,), 3, generator=generator, dtype=F64)
    told = lesson(generator, 6, 4, 4, 3)
    kept = fit(classifiers, told, keep={2, 5})
    assert len(kept) == 3
    for steps, stack in zip((2, 5, 6), kept, strict=True):
        (short,) = fit(classifiers, Lesson(*(field[:steps] for field in told)))
        torch.testing.assert_close(stack.parameters, short.parameters)


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("segment", [1, 2, 4])
def test_gradient_checkpointing_changes_no_gradient(segment, start, generator):
    classifiers = draw(parse_group("2xcnn3@tanh:3"), (1, 6), 3, generator=generator, dtype=F64)
    told = lesson(generator, 5, 4, 6, 3)

    def gradient(segment):
        fields = [told.inputs, told.learning_rate, told.momentum]
        leaves = [field.clone().requires_grad_() for field in fields]
        (trained,) = fit(
            classifiers,
            Lesson(leaves[0], told.targets, *leaves[1:]),
            create_graph=True,
            start=start,
            segment=segment,
        )
        return torch.autograd.grad(trained.parameters.square().sum(), leaves)

    for whole, parts in zip(gradient(0), gradient(segment), strict=True):
        assert whole.abs().max() > 0
        assert not whole[:start].any()
        torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mlp:64", "not of the form"),
        ("2xmlp@sigmoid:64", "one of the activations"),
        ("0xmlp@relu:64", "above 0"),
        ("mlp@relu:9..4", "low..high"),
        ("cnn4@relu:8", "odd"),
        ("cnn3@relu:8*2..1", "low..high"),
        ("mlp+in@relu:8", "not of the form"),
    ],
)
def test_what_is_no_group_is_said(text, message):
    with pytest.raises(UsageError, match=message):
        parse_group(text)


def test_a_window_has_the_gradient_of_a_training_that_starts_there(generator):
    classifiers = draw(parse_group("2xmlp@tanh:5"), (4,), 3, generator=generator, dtype=F64)
    told = lesson(generator, 5, 4, 4, 3)._replace(momentum=torch.zeros(5, dtype=F64))
    (halfway,) = fit(classifiers, Lesson(*(field[:2] for field in told)))

    def gradient(classifiers, told, start):
        inputs = told.inputs.clone().requires_grad_()
        (trained,) = fit(classifiers, told._replace(inputs=inputs), create_graph=True, start=start)
        return torch.autograd.grad(trained.parameters.square().sum(), inputs)[0]

    window = gradient(classifiers, told, 2)
    rest = gradient(halfway, Lesson(*(field[2:] for field in told)), 0)
    torch.testing.assert_close(window[2:], rest)


def test_a_cell_sums_what_its_edges_give(generator):
    drawn = draw(parse_group("1xcell.s00sa3@relu:4"), (2, 8, 8), 3, generator=generator, dtype=F64)
    # The convolution leads nowhere: nothing goes into node 2.
    assert drawn.network.num_parameters == (2 * 9 + 2) * 4 + (4 * 9 + 2) * 4 + (4 + 1) * 3
    drawn.parameters[:, -4:] = 0
    stem, shift, *_, scale, _ = drawn.parameters[0].split([72, 4, 144, 4, 12, 3, 4, 4])
    head, bias = drawn.parameters[0].split([72, 4, 144, 4, 12, 3, 8])[4:6]
    inputs = torch.randn(5, 2, 8, 8, generator=generator, dtype=F64)
    values = F.conv2d(inputs, stem.view(4, 2, 3, 3), stride=2, padding=1)
    values = F.group_norm(values, 4, scale, shift)
    values = F.relu(values + F.avg_pool2d(values, 3, 1, 1)).mean((2, 3))
    want = values @ head.view(4, 3) + bias
    torch.testing.assert_close(drawn.logits(inputs.view(1, 5, -1))[0], want)
    with pytest.raises(UsageError, match="does not come out"):
        draw(parse_group("1xcell.s00000@relu:4"), (2, 8, 8), 3, generator=generator)
    with pytest.raises(UsageError, match="is six of"):
        draw(parse_group("1xcell.s0@relu:4"), (2, 8, 8), 3, generator=generator)


def test_a_cnn_wants_inputs_with_channels(generator):
    with pytest.raises(UsageError, match="use an MLP"):
        draw(parse_group("cnn@relu:8"), (64,), 10, generator=generator)
