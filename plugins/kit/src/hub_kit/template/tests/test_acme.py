"""What hub-acme promises: the contract of hub, and a network that learns."""

import hub
import pytest
import torch
from hub_kit import conformance


@pytest.mark.parametrize(("name", "check"), conformance.cases("acme"))
def test_contract(name, check):
    check(name)


def test_network_learns():
    torch.manual_seed(0)
    model = hub.create_model("test_acme_net", num_classes=4)
    images, labels = torch.randn(16, 3, 64, 64), torch.arange(16) % 4
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
