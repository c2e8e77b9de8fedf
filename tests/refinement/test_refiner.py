"""The refiner's promises: identity at the start and where the gate is shut, frozen base, no leak, same result twice."""

import pytest
import torch
import torch.nn.functional as F

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.refinement import Sampling, refine_volume
from nnunetv2_comnet.refinement.objective import TERMS, USAGE, RefinerObjective, draw, total
from nnunetv2_comnet.refinement.residual_vae import reconstruction_loss
from nnunetv2_comnet.settings import make_settings
from tests.refinement.conftest import awake, refined_network, small_refiner

Patch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
PAPERS_WEIGHTS = make_settings("paper").refiner.loss_weights
OPEN = {"strengths": (1.0, 1.0, 1.0)}


@pytest.mark.parametrize("kind", [{}, {"prediction_type": "epsilon"}, {"quantizer": "fsq"}, {"downsampling": 4}])
def test_an_untrained_refiner_is_the_identity_bit_for_bit(patch: Patch, kind: dict) -> None:
    image, logits, _ = patch
    network = refined_network(small_refiner(**kind)).eval()
    assert torch.equal(network.refine(image, logits), logits)
    assert torch.equal(network(image), network.coarse(image))
    refined = refine_volume(network.ema, image[0], logits[0], sampling=Sampling(num_inference_steps=2), **OPEN)
    assert torch.equal(refined.logits, logits[0])


def test_a_trained_one_is_the_identity_where_the_gate_is_shut(patch: Patch) -> None:
    image, logits, _ = patch
    refiner = awake(small_refiner())
    shut = refiner.gate(logits)[0] == 0
    assert 0 < shut.float().mean() < 1
    for refined in (
        refine_volume(refiner, image[0], logits[0], sampling=Sampling(num_inference_steps=2), **OPEN).logits,
        refined_network(refiner).eval().refine(image, logits)[0],
    ):
        assert torch.equal(refined[shut], logits[0][shut])
        assert not torch.equal(refined[~shut], logits[0][~shut])


def test_strength_zero_leaves_a_region_alone(patch: Patch) -> None:
    image, logits, _ = patch
    refiner = awake(small_refiner())
    options = {**OPEN, "strengths": (1.0, 0.0, 0.5)}
    refined = refine_volume(refiner, image[0], logits[0], sampling=Sampling(num_inference_steps=2), **options)
    full = refine_volume(refiner, image[0], logits[0], sampling=Sampling(num_inference_steps=2), **OPEN)
    assert torch.equal(refined.logits[1], logits[0, 1])
    assert torch.equal(refined.logits[0], full.logits[0])
    assert torch.allclose(refined.correction[2], 0.5 * full.correction[2])


def test_the_same_input_gives_the_same_output_and_another_seed_another(patch: Patch) -> None:
    image, logits, _ = patch
    refiner = awake(small_refiner())

    def run(**sampling: float) -> torch.Tensor:
        return refine_volume(
            refiner, image[0], logits[0], sampling=Sampling(num_inference_steps=3, **sampling), **OPEN
        ).logits

    assert torch.equal(run(), run())
    assert not torch.equal(run(), run(seed=1))
    assert torch.equal(run(eta=1.0), run(eta=1.0))
    assert not torch.equal(run(), run(eta=1.0))


def test_half_precision_changes_a_little_and_breaks_nothing(patch: Patch) -> None:
    image, logits, truth = patch
    network = refined_network(awake(small_refiner()))
    whole = network.eval().refine(image, logits)
    drawn = draw(network.refiner, tuple(logits.shape), torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network.refine(image, logits)
        terms = network.train()(image, logits, truth, drawn)
    assert half.dtype == torch.float32
    assert (half.sigmoid() - whole.sigmoid()).abs().max() < 0.1
    shut = network.ema.gate(logits) == 0
    assert torch.equal(half[shut], logits[shut])
    for name in TERMS:
        assert terms[name].dtype == torch.float32
        assert torch.isfinite(terms[name])


def test_samples_are_averaged_and_their_spread_is_told(patch: Patch) -> None:
    image, logits, _ = patch
    refiner = awake(small_refiner())
    several = refine_volume(refiner, image[0], logits[0], sampling=Sampling(num_inference_steps=2, samples=3), **OPEN)
    assert several.spread.max() > 0
    assert several.spread[refiner.gate(logits)[0] == 0].max() == 0
    one = refine_volume(refiner, image[0], logits[0], sampling=Sampling(num_inference_steps=2), **OPEN)
    assert one.spread.max() == 0
    assert not torch.equal(one.logits, several.logits)


def test_the_condition_is_encoded_once_whatever_the_steps(patch: Patch) -> None:
    image, logits, _ = patch
    refiner = awake(small_refiner())
    calls = {"condition": 0, "denoiser": 0}
    for name in calls:
        getattr(refiner, name).register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    refined_network(refiner)  # a copy: not counted
    refine_volume(refiner, image[0], logits[0], sampling=Sampling(num_inference_steps=7), **OPEN)
    assert calls == {"condition": 1, "denoiser": 7}
    refine_volume(refiner, image[0], logits[0], sampling=Sampling(num_inference_steps=2, samples=3), **OPEN)
    assert calls == {"condition": 2, "denoiser": 7 + 6}


def test_the_terms_are_the_papers(patch: Patch) -> None:
    image, logits, truth = patch
    refiner = awake(small_refiner())
    drawn = draw(refiner, tuple(logits.shape), torch.Generator().manual_seed(0))
    terms = RefinerObjective(smooth=1e-5, has_ignore_channel=False)(
        refiner, image, logits, truth, drawn, learn_codes=True
    )
    p = logits.sigmoid().clamp(1e-3, 1 - 1e-3)
    residual = truth - p
    latent = refiner.encoder(residual)
    codes, _ = refiner.quantizer.lookup(latent)
    assert float(terms["reconstruction"]) == pytest.approx(
        float(reconstruction_loss(refiner.decode(codes), residual)), rel=1e-5
    )
    assert float(terms["quantisation"]) == pytest.approx(2 * float((latent - codes).square().mean()), rel=1e-5)
    # L_diff: the drawn time and T, v-target, weighted to where the gate is open.
    clean = (codes - refiner.latent_mean.reshape(1, -1, 1, 1, 1)) / refiner.latent_std.reshape(1, -1, 1, 1, 1)
    weight = torch.where(F.max_pool3d(refiner.gate(logits).amax(1, keepdim=True), 2) > 0, 1.0, 0.05)
    condition = refiner.encode_condition(image, logits)
    losses, predictions = [], []
    for time, eps in ((int(drawn.timestep), drawn.noise[:1]), (200, drawn.noise[1:])):
        a, s = refiner.schedule.signal[time], refiner.schedule.noise[time]
        z = a * clean + s * eps
        predictions.append(refiner.denoiser(z, torch.tensor([time]), condition))
        losses.append((weight * (predictions[-1] - (a * eps - s * clean)).square().mean(1, keepdim=True)).sum())
    assert float(terms["diffusion"]) == pytest.approx(float(sum(losses) / (2 * weight.sum())), rel=1e-4)
    # L_seg on l + gate * (logit(p + r) - logit(p)) with the residual that pure noise was denoised to: z_0 = -v.
    z_0 = -predictions[1] * refiner.latent_std.reshape(1, -1, 1, 1, 1) + refiner.latent_mean.reshape(1, -1, 1, 1, 1)
    raw = logits.sigmoid()
    corrected = torch.logit((raw + refiner.decode(z_0)).clamp(0.01, 0.99)) - torch.logit(raw.clamp(0.01, 0.99))
    final = logits + refiner.gate(logits) * corrected
    q = final.sigmoid()
    axes = (2, 3, 4)
    dice = (2 * (q * truth).sum(axes) + 1e-5) / (q.sum(axes) + truth.sum(axes) + 1e-5)
    bce = F.binary_cross_entropy(q.double(), truth.double())
    assert float(terms["segmentation"]) == pytest.approx(float(1 - dice.mean() + bce), rel=1e-4)
    assert float(total(terms, PAPERS_WEIGHTS)) == pytest.approx(
        float(terms["diffusion"] + terms["reconstruction"] + 0.25 * terms["quantisation"] + terms["segmentation"]),
        rel=1e-6,
    )


def test_the_supervised_correction_has_not_seen_the_truth(patch: Patch) -> None:
    image, logits, _ = patch
    refiner = awake(small_refiner())
    objective = RefinerObjective(smooth=1e-5, has_ignore_channel=False)
    drawn = draw(refiner, tuple(logits.shape), torch.Generator().manual_seed(0))
    condition = refiner.encode_condition(image, logits)
    tokens = refiner.open_tokens(refiner.gate(logits))
    _, one = objective._diffusion(refiner, condition, torch.randn(1, 4, 8, 16, 8), tokens, drawn)
    _, other = objective._diffusion(refiner, condition, torch.randn(1, 4, 8, 16, 8), tokens, drawn)
    assert torch.equal(one, other)
    noise = awake(small_refiner(prediction_type="epsilon"))
    assert float(noise.schedule.signal[noise.schedule.noisy_timestep]) < 0.35


@pytest.mark.parametrize("learn_codes", [True, False])
def test_gradients_reach_the_refiner_and_never_the_base(patch: Patch, learn_codes: bool) -> None:
    image, logits, truth = patch
    network = refined_network(awake(small_refiner())).train()
    drawn = draw(network.refiner, tuple(logits.shape), torch.Generator().manual_seed(0))
    terms = network(image, logits, truth, drawn, learn_codes=learn_codes)
    total(terms, PAPERS_WEIGHTS).backward()
    assert all(p.grad is None and not p.requires_grad for p in network.coarse.parameters())
    assert all(p.grad is None for p in network.ema.parameters())
    reached = {
        name: any(p.grad is not None and p.grad.abs().max() > 0 for p in getattr(network.refiner, name).parameters())
        for name in ("encoder", "decoder", "condition", "denoiser")
    }
    assert reached == {"encoder": learn_codes, "decoder": True, "condition": True, "denoiser": True}
    assert set(terms) == {*TERMS, USAGE}


def test_the_diffusion_loss_does_not_reach_the_encoder(patch: Patch) -> None:
    image, logits, truth = patch
    network = refined_network(awake(small_refiner())).train()
    drawn = draw(network.refiner, tuple(logits.shape), torch.Generator().manual_seed(0))
    terms = network(image, logits, truth, drawn)
    (terms["diffusion"] + terms["segmentation"]).backward()
    assert all(p.grad is None for p in network.refiner.encoder.parameters())


def test_asking_for_the_loss_changes_no_state(patch: Patch) -> None:
    image, logits, truth = patch
    network = refined_network(awake(small_refiner())).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(image, logits, truth, draw(network.refiner, tuple(logits.shape), torch.Generator()))
    network.eval()(image)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_the_average_follows_the_weights(patch: Patch) -> None:
    network = refined_network(small_refiner())
    name = "denoiser.head.weight"
    with torch.no_grad():
        network.refiner.denoiser.head.weight.fill_(1.0)
    network.update_ema(0.999)  # the first step keeps min(0.999, 1/10) of what was there: zeros
    assert torch.allclose(network.ema.state_dict()[name], torch.full((4, 4, 1, 1, 1), 0.9))
    network.update_ema(0.999)  # the second keeps 2/11
    assert torch.allclose(network.ema.state_dict()[name], torch.full((4, 4, 1, 1, 1), 1 - 0.1 * 2 / 11))
    network.train()
    assert network.refiner.training
    assert not network.ema.training
    assert not network.coarse.training


def test_an_ignored_voxel_counts_nowhere(patch: Patch) -> None:
    image, logits, truth = patch
    refiner = awake(small_refiner())
    objective = RefinerObjective(smooth=1e-5, has_ignore_channel=True)
    ignored = torch.zeros_like(truth[:, :1])
    ignored[:, :, 6:8, 8:10, 6:8] = 1
    drawn = draw(refiner, tuple(logits.shape), torch.Generator().manual_seed(0))
    lied = torch.where(ignored.bool(), 1 - truth, truth)
    one, other = (
        objective(refiner, image, logits, torch.cat([labels, ignored], 1), drawn, learn_codes=True)
        for labels in (truth, lied)
    )
    for name in TERMS:
        assert torch.equal(one[name], other[name]), name


def test_the_baseline_without_diffusion_is_the_same_network(patch: Patch) -> None:
    image, logits, truth = patch
    diffusion, regression = small_refiner(), small_refiner(objective="deterministic")
    count = [sum(p.numel() for p in r.parameters()) for r in (diffusion, regression)]
    assert count[0] == count[1]
    network = refined_network(awake(regression)).train()
    drawn = draw(network.refiner, tuple(logits.shape), torch.Generator())
    terms = network(image, logits, truth, drawn)
    assert float(terms["diffusion"]) == float(terms["quantisation"]) == 0
    total(terms, PAPERS_WEIGHTS).backward()
    refined = refine_volume(network.ema, image[0], logits[0], sampling=Sampling(num_inference_steps=25), **OPEN)
    again = refine_volume(network.ema, image[0], logits[0], sampling=Sampling(num_inference_steps=1, seed=9), **OPEN)
    assert torch.equal(refined.logits, again.logits)  # no noise, no steps


def test_inputs_that_do_not_fit_are_refused_in_one_line(patch: Patch) -> None:
    image, logits, _ = patch
    refiner = small_refiner()
    with pytest.raises(ConfigurationError):
        refiner.encode_condition(image[:, :2], logits)
    with pytest.raises(ConfigurationError):
        refiner.encode_condition(image[..., :12], logits[..., :12])
    with pytest.raises(ConfigurationError, match="strengths"):
        refine_volume(refiner, image[0], logits[0], strengths=(1, 2, 0), sampling=Sampling(25))
    with pytest.raises(ConfigurationError, match="steps"):
        Sampling(num_inference_steps=0)
