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
    """Builds the quantiser that a configuration names."""
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
        """Finds the nearest codes of latents (B, L, d, h, w): that shape, float32, and their numbers (B, d, h, w)."""
        numbers, grid = self._nearest(_tokens(latent)), (latent.shape[0], *latent.shape[2:])
        values = self.codes[numbers].reshape(*grid, -1).movedim(-1, 1) if bool(self.started) else latent.float()
        return values, numbers.reshape(grid)

    def snap(self, values: Tensor) -> Tensor:
        """Finds the codes nearest to values (B, L, d, h, w), such as a sampler's."""
        return self.lookup(values)[0]

    def straight_through(self, latent: Tensor, values: Tensor) -> Tensor:
        """Returns the values, with the latent's gradient."""
        return latent.float() + (values - latent.float()).detach()

    def losses(self, latent: Tensor, values: Tensor) -> Tensor:
        """Computes codebook plus commitment term; the first is a number only, as moving averages do its work."""
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
        counts, sums = self._served(tokens)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self._revive(lively, generator)
        self.codes.copy_(self.sums / self.counts.clamp(min=1e-5)[:, None])

    def _ready(self, errors: int) -> bool:
        """Says whether to start: after the warm-up, at a batch with an error per code, later with any error."""
        if _several_processes():  # all start together
            return int(self.updates) > self.warm_up
        enough = self.size if int(self.updates) <= 2 * self.warm_up else 1
        return int(self.updates) > self.warm_up and errors >= enough

    def _start(self, lively: Tensor, tokens: Tensor, generator: torch.Generator) -> None:
        """Starts the codebook by k-means on the tokens of errors, the first that of "no error" (the most common)."""
        codes = torch.cat([tokens.median(dim=0).values[None], _picked(lively, self.size, generator)[1:]])
        if _several_processes():
            distributed.broadcast(codes, 0)
        self.codes.copy_(codes)
        for _ in range(10):
            counts, sums = self._served(lively)
            served = counts > 0
            self.codes[served] = sums[served] / counts[served][:, None]
        self.counts.fill_(1.0)
        self.sums.copy_(self.codes)
        self.started.fill_(True)

    def _revive(self, lively: Tensor, generator: torch.Generator) -> None:
        """Replaces codes that serve almost nothing by tokens of the batch, with averages that hold them a while."""
        dead = (self.counts < self.dead_below).nonzero().flatten()
        if not len(dead) or (not len(lively) and not _several_processes()):
            return
        picked = _picked(lively, len(dead), generator) if len(lively) else self.codes[dead]
        if _several_processes():
            distributed.broadcast(picked, 0)
        self.counts[dead] = 1.0
        self.sums[dead] = picked

    def _served(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Counts and sums the tokens that each code serves, over all processes: (K,) and (K, L)."""
        numbers = self._nearest(tokens)
        counts = torch.bincount(numbers, minlength=self.size).float()
        sums = torch.zeros_like(self.sums).index_add_(0, numbers, tokens)
        if _several_processes():
            distributed.all_reduce(counts)
            distributed.all_reduce(sums)
        return counts, sums

    def _nearest(self, tokens: Tensor) -> Tensor:
        """Finds the numbers of the nearest codes by |t - c|^2 without |t|^2, which is the same for all codes."""
        with torch.autocast(tokens.device.type, enabled=False):
            square = self.codes.square().sum(dim=1)
            chunks = (torch.addmm(square, chunk, self.codes.t(), alpha=-2) for chunk in tokens.split(_CHUNK))
            return torch.cat([distances.argmin(dim=1) for distances in chunks])


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
        """Rounds latents, each channel in [-1, 1], and numbers their codes; shapes as of `EMAQuantizer.lookup`."""
        return self._rounded(torch.tanh(_tokens(latent)), latent.shape)

    def snap(self, values: Tensor) -> Tensor:
        """Finds the levels nearest to values (B, L, d, h, w) that are already bounded, such as a sampler's."""
        return self._rounded(_tokens(values).clamp(-1, 1), values.shape)[0]

    def straight_through(self, latent: Tensor, values: Tensor) -> Tensor:
        """Returns the values, with the gradient of the bounded latent."""
        bounded = torch.tanh(latent.float())
        return bounded + (values - bounded).detach()

    def losses(self, latent: Tensor, values: Tensor) -> Tensor:
        """Returns 0: without a codebook there is nothing to learn."""
        return torch.zeros((), device=latent.device)

    def update(self, latent: Tensor, active: Tensor, generator: torch.Generator) -> None:
        """Does nothing: there is no codebook."""

    def _rounded(self, bounded: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Rounds tokens (N, L) in [-1, 1] to evenly spaced levels; returns these and code numbers, as latents."""
        steps = (bounded * self.half_range + self.half_range).round()  # 0 .. levels - 1
        grid = (shape[0], *shape[2:])
        values = (steps / self.half_range - 1).reshape(*grid, -1).movedim(-1, 1)
        return values, (steps.long() * self.basis).sum(dim=1).reshape(grid)


def perplexity(counts: Tensor) -> float:
    """Computes exp of the entropy of the codes' use (K,): how many codes are in effect used; 0 where none is."""
    share = counts.double() / counts.sum().clamp(min=1)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum())) if counts.sum() > 0 else 0.0


def _tokens(latent: Tensor) -> Tensor:
    """Turns voxels into tokens: (B, L, d, h, w) -> (B * d * h * w, L), float32."""
    return latent.float().movedim(1, -1).reshape(-1, latent.shape[1])


def _picked(tokens: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draws `count` tokens with replacement."""
    return tokens[torch.randint(len(tokens), (count,), generator=generator).to(tokens.device)]


def _several_processes() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
