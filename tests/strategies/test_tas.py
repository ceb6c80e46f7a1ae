"""TAS and its relatives in the size space: the numbers of the original, draws, targets, searches."""

import math

import pytest
import torch
from reference import alphas, assert_close, cases, image, set_weights

from ramify import strategies
from ramify.errors import ConfigurationError
from ramify.spaces import DARTSCells, NATSBenchSize, PrunableResNet
from ramify.strategies import TAS, FBNetV2, TuNAS, compatible
from ramify.strategies.bilevel import Moment
from ramify.strategies.reinforce import Baseline
from ramify.strategies.tas import pair, perturbed
from ramify.strategies.tunas import last_of, log_probability
from ramify.supernet import Choice
from ramify.testing import check_strategy
from small_runs import SPACES, finish, session_of

SIZES = cases("nats-size-search")
SEARCHED = [case for case in SIZES if case["arch"]["algorithm"] in ("tas", "mask_gumbel")]
MASKED = [case for case in SIZES if case["arch"]["algorithm"] in ("mask_rl", "warmup")]


def ids(case):
    return f"{case['arch']['algorithm']}-{case['id'][-3:]}"


def size_space(case):
    return NATSBenchSize(widths=case["arch"]["candidates"])


def size_supernet(case):
    config = case["config"]
    combine = "interpolate" if case["arch"]["algorithm"] == "tas" else "layers"
    keywords = {name: config[name] for name in ("num_classes", "affine", "track_running_stats")}
    network = size_space(case).supernet(combine=combine, **keywords).double()
    set_weights(network)
    return network


def waves(text, rows, columns):
    """The tensor of a formula such as `1.1*sin(2.3*i + 0.5)`."""
    shift = float(text.rpartition("+ ")[2].rstrip(")"))
    i = torch.arange(rows * columns, dtype=torch.float64)
    return (1.1 * torch.sin(2.3 * i + shift)).reshape(rows, columns)


def six(rows):
    """What is drawn six times, stem first, by the names under which a mix holds it."""
    return {"channels": rows[1:], "stem": rows[:1]}


def logits_close(case, mix, active=None):
    x = image(case["config"]["input"])
    with torch.no_grad():
        logits = size_supernet(case).eval()(x, mix, active=active)
    assert_close(logits, case["logits_eval"], case["amplification"]["eval"])
    logits = size_supernet(case).train()(x, mix, active=active)
    assert_close(logits, case["logits_train"], case["amplification"]["train"])
    return logits


class TestReference:
    @pytest.mark.parametrize("case", SIZES, ids=ids)
    def test_parameters_of_the_size_supernet(self, case):
        assert sum(p.numel() for p in size_supernet(case).parameters()) == case["params"]["total"]

    @pytest.mark.parametrize("case", SEARCHED, ids=ids)
    def test_interpolation_and_masks(self, case):
        space, draw = size_space(case), case["config"]["draw"]
        raw = alphas((5, len(space.widths)), case["config"]["alphas"])
        noise, mix, active = six(waves(draw["gumbel"], 6, len(space.widths))), {}, {}
        for name, choice, rows in space.drawn({"channels": raw}):
            if case["arch"]["algorithm"] == "mask_gumbel":
                mix[name] = choice.softmax((rows + noise[name]) / draw["tau"])
                taken = mix[name]
            else:
                logits = perturbed(choice, rows, noise[name], draw["tau"])
                indices = six(torch.tensor(draw["indices"]))[name]
                active[name] = torch.zeros_like(choice.mask).scatter(1, indices, True)
                mix[name] = logits.masked_fill(~active[name], -math.inf).softmax(dim=1)
                taken = mix[name].gather(1, indices)
            wanted = six(torch.tensor(draw["probs"], dtype=torch.float64))[name]
            torch.testing.assert_close(taken.detach(), wanted, rtol=0, atol=1e-9)
        logits = logits_close(case, mix, active or None)
        loss = logits.square().sum() / 2
        assert float(loss.detach()) == pytest.approx(case["loss_train"], rel=1e-7)
        loss.backward()
        assert_close(raw.grad, case["grad_alphas"], case["amplification"]["grad"], gradient=True)

    @pytest.mark.parametrize("case", MASKED, ids=ids)
    def test_masks_that_are_drawn(self, case):
        space = size_space(case)
        indices = six(torch.tensor(case["config"]["draw"]["indices"])[:, None])
        shapes = {"channels": (5, len(space.widths)), "stem": (1, len(space.widths))}
        active = {n: torch.zeros(shapes[n], dtype=torch.bool).scatter(1, indices[n], True) for n in shapes}
        mix = {name: on.double() for name, on in active.items()}
        logits_close(case, mix)
        logits_close(case, mix, active)
        if case["arch"]["algorithm"] == "warmup":
            return
        raw = alphas(shapes["channels"], case["config"]["alphas"])
        each = [
            log_probability(*_row(choice, rows, active[name], row))
            for name, choice, rows in sorted(space.drawn({"channels": raw}), key=lambda drawn: drawn[0] != "stem")
            for row in range(len(rows))
        ]
        found = torch.tensor([float(p.detach()) for p in each])
        torch.testing.assert_close(found, torch.tensor(case["log_probs"]), rtol=0, atol=1e-6)
        baseline = Baseline(0.95)
        assert [baseline.update(reward) for reward in case["rewards"]] == pytest.approx(case["baselines"], rel=1e-9)
        advantage = case["rewards"][-1] - case["baselines"][-1]
        assert advantage == pytest.approx(case["advantage"], rel=1e-8)
        loss = -advantage * torch.stack(each).sum()
        assert float(loss.detach()) == pytest.approx(case["loss_train"], rel=1e-7)
        loss.backward()
        assert_close(raw.grad, case["grad_alphas"], 1e6, gradient=True)


def _row(choice, rows, active, row):
    one = Choice(choice.edges[row : row + 1], choice.ops, choice.mask[row : row + 1])
    return one, rows[row : row + 1], active[row : row + 1]


class TestDraws:
    def test_two_widths_of_every_row_and_all_depths(self):
        space, strategy = PrunableResNet(depth=14), TAS(epochs=10)
        raw = {name: torch.randn(choice.shape) for name, choice in space.choices.items()}
        mix, active = strategy.mixing(space, raw, Moment(0, 3, 0, "weights"))
        assert active["width"].sum(dim=1).tolist() == [2] * 13
        assert active["depth"].all()
        for name, weights in mix.items():
            assert torch.allclose(weights.sum(dim=1), torch.ones(len(weights)))
            assert not weights[~active[name]].any()

    def test_pairs_are_drawn_by_the_probabilities(self):
        """Without replacement from p: a pair {i, j} has p_i p_j / (1 - p_i) + p_j p_i / (1 - p_j)."""
        space = NATSBenchSize(widths=(1, 2, 3))
        choice, p = space.choices["channels"], torch.tensor([0.5, 0.3, 0.2])
        logits = p.log().expand(5, 3)
        seen = {(0, 1): 0, (0, 2): 0, (1, 2): 0}
        for draw in range(2000):
            for row in pair(choice, logits, Moment(0, 0, draw, "weights"), "channels").tolist():
                seen[tuple(i for i, on in enumerate(row) if on)] += 1
        for (i, j), count in seen.items():
            share = float(p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j]))
            assert count / 10_000 == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / 10_000))

    def test_a_row_with_one_candidate_left_takes_it(self):
        space = NATSBenchSize(widths=(1, 2, 3))
        space = space.restrict({"channels": [[row != 2 or at == 1 for at in range(3)] for row in range(5)]})
        mix, active = TAS(target=0).mixing(space, {"channels": torch.zeros(5, 3)}, Moment(0, 0, 0, "weights"))
        assert active["channels"][2].tolist() == [False, True, False] and mix["channels"][2].tolist() == [0, 1, 0]

    def test_stem_and_first_cell_draw_apart_from_one_row(self):
        space = NATSBenchSize()
        for strategy in (TAS(target=0), FBNetV2(), TuNAS(warmup_share=0)):
            apart = 0
            for draw in range(5):
                mix, _ = strategy.mixing(space, {"channels": torch.zeros(5, 8)}, Moment(0, 0, draw, "weights"))
                assert mix["stem"].shape == (1, 8)
                apart += not torch.equal(mix["stem"][0], mix["channels"][0])
            assert apart >= 3

    def test_temperatures(self):
        assert [round(TAS(epochs=600).temperature(e), 4) for e in (0, 150, 300)] == [5.0, 4.2824, 2.55]
        linear = TAS(epochs=100, tau_start=10, tau_schedule="linear")
        assert linear.temperature(0) == 10 and linear.temperature(99) == pytest.approx(0.1)


class TestTuNAS:
    def test_warm_up_takes_the_full_mask_less_and_less_often(self):
        strategy = TuNAS(epochs=100)
        assert [strategy.full_share(e) for e in (0, 5, 25, 60)] == [1, 0.8, 0, 0]
        space = NATSBenchSize(widths=(1, 2, 3))
        raw = {"channels": torch.tensor([[50.0, 0, 0]] * 5)}
        full = strategy.mixing(space, raw, Moment(0, 0, 0, "weights"))[1]["channels"]
        assert torch.equal(full, last_of(space.choices["channels"]))
        half = [strategy.mixing(space, raw, Moment(0, 12, draw, "weights"))[1]["channels"] for draw in range(300)]
        share = torch.stack(half)[..., 2].float().mean()
        assert float(share) == pytest.approx(0.52 + 0.48 / 3, abs=0.06)
        after = strategy.mixing(space, raw, Moment(0, 25, 0, "weights"))[1]["channels"]
        assert after[:, 0].all()

    def test_the_policy_learns_what_is_rewarded(self):
        session = session_of("size", TuNAS(epochs=1, batch_size=16, warmup_share=0, arch_lr=0.1))
        space = session.space
        for draw in range(60):
            _, path = session.strategy.mixing(space, session.alphas, Moment(0, 0, draw, "architecture"))
            session.reinforce(path, 100.0 * float(path["channels"][2, 0]))
        assert float(session.scores()["channels"][2, 0]) > 0.9

    def test_the_last_width_is_learned_where_a_mask_follows_the_norm_alone(self):
        """Behind the last mask a norm of the batch's statistics undoes it; the default masks once more."""
        grown = {}
        for combine in ("layers", "mask"):
            torch.manual_seed(0)
            space = NATSBenchSize(widths=(4, 8))
            sup = space.supernet(combine=combine)
            mix = torch.full((5, 2), 0.5, requires_grad=True)
            sup.train()(torch.randn(16, 3, 8, 8), {"channels": mix}).square().mean().backward()
            difference = (mix.grad[:, 0] - mix.grad[:, 1]).abs()
            grown[combine] = float(difference[4] / difference[:4].mean())
        assert grown["layers"] < 1e-2 * grown["mask"]


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"tau_end": 0.0}, "temperatures must be above 0"),
            ({"tau_schedule": "steps"}, "`tau_schedule` must be"),
            ({"target_of": "latency_ms"}, "known without a device"),
            ({"target": -1}, "`target` must be a number from 0"),
            ({"tolerance": 2}, r"`tolerance` must be in \[0, 1\]"),
            ({"limits": {"macs": 1e6}}, "two rules for what is derived"),
        ],
    )
    def test_refusals(self, settings, message):
        with pytest.raises(ConfigurationError, match=message):
            TAS(**settings)

    def test_spaces_without_an_expected_cost_are_refused_unless_there_is_no_target(self):
        verdict = compatible(NATSBenchSize(), TAS())
        assert not verdict and verdict.reason.endswith("target=0 leaves it out")
        assert compatible(NATSBenchSize(), TAS(target=0)) and compatible(DARTSCells(), TAS())

    def test_relatives_refuse_settings_without_a_meaning(self):
        with pytest.raises(ConfigurationError, match="temperatures"):
            FBNetV2(tau_start=0)
        with pytest.raises(ConfigurationError, match="`warmup_share`"):
            TuNAS(warmup_share=1)


class TestSearch:
    def test_costs_go_to_the_target_and_the_result_meets_it(self):
        session = session_of("prunable", strategies.TAS(epochs=3, batch_size=16, arch_lr=0.1, target=0.4))
        rows = finish(session)
        assert session.summary()["budget"]["met"]
        last = rows[-1]
        assert last["derived_macs"] <= last["target_macs"] == session.target.target
        assert rows[-1]["expected_macs"] < rows[0]["expected_macs"]

    def test_the_term_of_the_cost_reaches_every_parameter(self):
        session = session_of("prunable", TAS(epochs=1, batch_size=16, target=0.1))
        session.alphas.descend([])
        start = session._start()
        assert all(bool((now != start[name]).all()) for name, now in session.alphas.items())

    def test_it_keeps_the_contract_of_strategies_with_a_target(self):
        check_strategy(TAS(epochs=2, batch_size=16, arch_lr=0.1, target=0.4), *SPACES["prunable"])

    def test_it_searches_the_size_space_by_interpolation(self):
        session = session_of("size", strategies.TAS(epochs=1, batch_size=16, target=0))
        rows = finish(session)
        assert rows and session.architecture() in session.space
