"""Muon: momentum whose matrix is replaced by the nearest semi-orthogonal one (K. Jordan et al., 2024).

torch.optim.Muon takes 2-D parameters only; this one also takes stacks of matrices [n, rows, columns], as the experts
of a mixture are stored.
"""

import torch
import torch.distributed as dist


def orthogonalise(g: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Quintic Newton-Schulz iteration in bfloat16: [..., rows, columns] -> about U V^T of each matrix."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    transposed = x.shape[-2] > x.shape[-1]
    if transposed:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        xxt = x @ x.mT
        x = a * x + (b * xxt + c * (xxt @ xxt)) @ x
    return (x.mT if transposed else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self) -> None:
        """Each process orthogonalises its part of the matrices; one exchange gives all of them to all."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for group in self.param_groups:
            updates, share = [], [0] * world
            for p in sorted(group["params"], key=lambda p: -p.numel()):
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                buffer = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                owner = share.index(min(share))
                share[owner] += p.numel()
                mine = owner == rank
                updates.append((p, orthogonalise(p.grad.lerp(buffer, group["momentum"])) if mine
                                else torch.zeros_like(p)))
            if world > 1:
                flat = torch.cat([u.reshape(-1) for _, u in updates])
                dist.all_reduce(flat)
                parts = flat.split([u.numel() for _, u in updates])
                updates = [(p, part.view_as(p)) for (p, _), part in zip(updates, parts)]
            for p, update in updates:
                scale = max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * scale)
