"""Codes of the residual autoencoder: a learned codebook kept by moving averages, or finite scalar quantisation.

Looking a latent up never changes the codebook; `update` does, and only training calls it. Everything is float32:
in half precision the moving averages overflow. (van den Oord et al., 2017; Mentzer et al., 2023, arXiv 2309.15505.)
"""

import math

import torch
from torch import Tensor, distributed, nn

from nnunetv2_comnet.configurations import RefinerConfig

_CHUNK = 32768  # tokens whose distances to all codes are held at once
_FSQ_LEVELS = (8, 5, 5, 5)  # 1000 codes, the choice of its paper for about 2^10; other widths take 3 a channel


def build_quantizer(config: RefinerConfig) -> "EMAQuantizer | FiniteScalarQuantizer":
    """The quantiser that a configuration names."""
    if config.quantizer == "fsq":
        return FiniteScalarQuantizer(config.latent_channels)
    return EMAQuantizer(config.codebook_size, config.latent_channels)


class EMAQuantizer(nn.Module):
    """A codebook of `size` codes of `channels` numbers; each code follows the mean of the tokens that it serves.

    For its first `warm_up` updates it gives latents back as they are: codes drawn from an encoder that has not learned
    anything yet would be left behind by it, all but a few.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor
    started: Tensor
    updates: Tensor

    def __init__(
        self, size: int, channels: int, *, decay: float = 0.95, dead_below: float = 0.1, warm_up: int = 50
    ) -> None:
        super().__init__()
        self.size, self.decay, self.dead_below, self.warm_up = size, decay, dead_below, warm_up
        self.register_buffer("codes", torch.randn(size, channels, generator=torch.Generator().manual_seed(size)))
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", self.codes.clone())
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("updates", torch.tensor(0))

    def lookup(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest codes of latents (B, L, d, h, w): (B, L, d, h, w) float32 and their numbers (B, d, h, w)."""
        tokens = _tokens(latent)
        numbers = torch.cat([self._nearest(chunk) for chunk in tokens.split(_CHUNK)])
        if not bool(self.started):
            return latent.float(), numbers.reshape(latent.shape[0], *latent.shape[2:])
        values = self.codes[numbers].reshape(latent.shape[0], *latent.shape[2:], -1).movedim(-1, 1)
        return values, numbers.reshape(latent.shape[0], *latent.shape[2:])

    def snap(self, values: Tensor) -> Tensor:
        """The codes nearest to values (B, L, d, h, w), such as a sampler's: the values that `lookup` would give."""
        return self.lookup(values)[0]

    def straight_through(self, latent: Tensor, values: Tensor) -> Tensor:
        """The values, with the latent's gradient."""
        return latent.float() + (values - latent.float()).detach()

    def losses(self, latent: Tensor, values: Tensor) -> Tensor:
        """Codebook plus commitment term; the first is a number only, as moving averages do its work."""
        latent = latent.float()
        return (values.detach() - latent.detach()).square().mean() + (latent - values.detach()).square().mean()

    @torch.no_grad()
    def update(self, latent: Tensor, active: Tensor, generator: torch.Generator) -> None:
        """Moves the codes towards the tokens of `latent` (B, L, d, h, w) that they serve.

        active: (B, d, h, w), tokens that stand for an error. They start the codebook (k-means) and replace codes that
        serve nothing; most tokens say "no error", and one code serves them all. The generator is on the CPU.
        """
        tokens = _tokens(latent)
        lively = tokens[active.flatten()]
        self.updates += 1
        if not bool(self.started):
            if not self._ready(len(lively)):
                return
            self._start(lively if len(lively) else tokens, tokens, generator)
        numbers = torch.cat([self._nearest(chunk) for chunk in tokens.split(_CHUNK)])
        counts = torch.bincount(numbers, minlength=self.size).float()
        sums = torch.zeros_like(self.sums).index_add_(0, numbers, tokens)
        if _several_processes():
            distributed.all_reduce(counts)
            distributed.all_reduce(sums)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self._revive(lively, generator)
        self.codes.copy_(self.sums / self.counts.clamp(min=1e-5)[:, None])

    def _ready(self, errors: int) -> bool:
        """After the warm-up, at the first batch with an error per code; where none has as many, at any, later."""
        if _several_processes():  # all start together
            return int(self.updates) > self.warm_up
        enough = self.size if int(self.updates) <= 2 * self.warm_up else 1
        return int(self.updates) > self.warm_up and errors >= enough

    def _start(self, lively: Tensor, tokens: Tensor, generator: torch.Generator) -> None:
        """k-means on the tokens of errors, with the token of "no error" (the most common one) as the first code."""
        picked = lively[torch.randint(len(lively), (self.size,), generator=generator).to(lively.device)]
        codes = torch.cat([tokens.median(dim=0).values[None], picked[1:]])
        if _several_processes():
            distributed.broadcast(codes, 0)
        self.codes.copy_(codes)
        for _ in range(10):
            numbers = torch.cat([self._nearest(chunk) for chunk in lively.split(_CHUNK)])
            counts = torch.bincount(numbers, minlength=self.size).float()
            sums = torch.zeros_like(self.sums).index_add_(0, numbers, lively)
            if _several_processes():
                distributed.all_reduce(counts)
                distributed.all_reduce(sums)
            served = counts > 0
            self.codes[served] = sums[served] / counts[served][:, None]
        self.counts.fill_(1.0)
        self.sums.copy_(self.codes)
        self.started.fill_(True)

    def _revive(self, lively: Tensor, generator: torch.Generator) -> None:
        """Codes that serve almost nothing become tokens of the batch, with averages that hold them there a while."""
        dead = (self.counts < self.dead_below).nonzero().flatten()
        if not len(dead) or (not len(lively) and not _several_processes()):
            return
        if len(lively):
            picked = lively[torch.randint(len(lively), (len(dead),), generator=generator).to(lively.device)]
        else:
            picked = self.codes[dead]
        if _several_processes():
            distributed.broadcast(picked, 0)
        self.counts[dead] = 1.0
        self.sums[dead] = picked

    def _nearest(self, tokens: Tensor) -> Tensor:
        """Numbers of the nearest codes: |t - c|^2 without |t|^2, which is the same for all codes."""
        with torch.autocast(tokens.device.type, enabled=False):
            distances = torch.addmm(self.codes.square().sum(dim=1), tokens, self.codes.t(), alpha=-2)
        return distances.argmin(dim=1)


class FiniteScalarQuantizer(nn.Module):
    """Each latent channel is rounded to one of a few levels: no codebook, so none that could die."""

    half_range: Tensor
    basis: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        levels = _FSQ_LEVELS if channels == len(_FSQ_LEVELS) else (3,) * channels
        self.size = math.prod(levels)
        basis = [math.prod(levels[:channel]) for channel in range(channels)]
        self.register_buffer("half_range", (torch.tensor(levels, dtype=torch.float32) - 1) / 2, persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def lookup(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """The rounded latents, each channel in [-1, 1], and the numbers of their codes; as `EMAQuantizer.lookup`."""
        return self._rounded(torch.tanh(_tokens(latent)), latent.shape)

    def snap(self, values: Tensor) -> Tensor:
        """The levels nearest to values (B, L, d, h, w) that are already bounded, such as a sampler's."""
        return self._rounded(_tokens(values).clamp(-1, 1), values.shape)[0]

    def straight_through(self, latent: Tensor, values: Tensor) -> Tensor:
        """The values, with the gradient of the bounded latent."""
        bounded = torch.tanh(latent.float())
        return bounded + (values - bounded).detach()

    def losses(self, latent: Tensor, values: Tensor) -> Tensor:
        """Nothing to commit to: 0."""
        return torch.zeros((), device=latent.device)

    def update(self, latent: Tensor, active: Tensor, generator: torch.Generator) -> None:
        """There is nothing to move."""

    def _rounded(self, bounded: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Tokens (N, L) in [-1, 1] -> evenly spaced levels from -1 to 1, and code numbers, in a latent's shape."""
        steps = (bounded * self.half_range + self.half_range).round()  # 0 .. levels - 1
        grid = (shape[0], *shape[2:])
        values = (steps / self.half_range - 1).reshape(*grid, -1).movedim(-1, 1)
        return values, (steps.long() * self.basis).sum(dim=1).reshape(grid)


def perplexity(counts: Tensor) -> float:
    """exp of the entropy of the codes' use (K,): how many codes are in effect used; 0 where none is."""
    share = counts.double() / counts.sum().clamp(min=1)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum())) if counts.sum() > 0 else 0.0


def _tokens(latent: Tensor) -> Tensor:
    """(B, L, d, h, w) -> (B * d * h * w, L), float32."""
    return latent.float().movedim(1, -1).reshape(-1, latent.shape[1])


def _several_processes() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
