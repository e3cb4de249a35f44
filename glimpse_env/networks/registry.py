"""The networks that a checkpoint may hold: the classes that rebuild them, by the name in the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glimpse_env.networks.averaged_views import AveragedViews, ViewsArchitecture
from glimpse_env.networks.base import Agent
from glimpse_env.networks.double_decker import DeckSizes, DoubleDecker
from glimpse_env.networks.fcan import FcanArchitecture, FullyConvolutionalAttention
from glimpse_env.networks.recurrent_attention import Architecture, RecurrentAttention
from glimpse_env.networks.whole_image import WholeImage, WholeImageArchitecture
from glimpse_env.runtime.checkpoint import OLD_NAMES

NETWORKS: dict[str, tuple[type, type[Agent]]] = {
    "recurrent": (Architecture, RecurrentAttention),
    "double_decker": (DeckSizes, DoubleDecker),
    "views": (ViewsArchitecture, AveragedViews),
    "whole_image": (WholeImageArchitecture, WholeImage),
    "fcan": (FcanArchitecture, FullyConvolutionalAttention),
}


def find_name(network: Agent) -> str:
    """Return the name under which a network is rebuilt."""
    return next(name for name, (_, kind) in NETWORKS.items() if type(network) is kind)


def read_architecture(saved: Mapping[str, Any]) -> Any:
    """Return the architecture of a checkpoint's network; raise a ValueError if its name is unknown."""
    name = saved.get("network_name", "recurrent")
    if name not in NETWORKS:
        known = f"expected one of {', '.join(NETWORKS)}; a newer program wrote it"
        raise ValueError(f"the checkpoint holds a network called {name!r}: {known}")
    kind, fields = NETWORKS[name][0], dict[str, Any](saved["architecture"])
    today = kind.__dataclass_fields__  # other names are those of earlier versions
    return kind(**{key if key in today else OLD_NAMES.get(key, key): fields[key] for key in fields})


def rebuild(saved: Mapping[str, Any]) -> Agent:
    """Return the network of a checkpoint (see `read_architecture`)."""
    architecture = read_architecture(saved)
    network = NETWORKS[saved.get("network_name", "recurrent")][1](architecture)
    network.load_state_dict(saved["network"])
    return network
