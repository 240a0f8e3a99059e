"""Adapters are constructed in `bootstrap/` alone: a port's user never names the vendor behind it."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.architecture import repository

ROOT_FOLDER = "wellspring/bootstrap/"
OPENERS = frozenset({"login_service", "StepRecorder", "Journal", "MlflowRegistry", "RemoteWitness"})
"""Further names that only the composition root calls: they have no `port.py` beside them."""
RECORD_FOLDER = "records of one machine in a folder of their own"
EXEMPT = {
    ("wellspring/data/contracts/contract.py", "DiskBlobStore"): RECORD_FOLDER,
    ("wellspring/data/features/views.py", "DiskBlobStore"): RECORD_FOLDER,
    ("wellspring/lake/editions.py", "DiskBlobStore"): RECORD_FOLDER,
    ("wellspring/models/releases/store.py", "DiskBlobStore"): RECORD_FOLDER,
    ("wellspring/workflows/transform.py", "DiskBlobStore"): RECORD_FOLDER,
    ("wellspring/trust/changes/store.py", "DiskBlobStore"): "the folder of releases, which every service reads",
    ("wellspring/trust/changes/store.py", "DiskContentStore"): "the folder of releases, which every service reads",
    ("wellspring/trust/ledger/keyring.py", "DiskBlobStore"): "an auditor reads keys from a folder",
    ("wellspring/trust/ledger/cosigner.py", "DiskBlobStore"): "the witness is a process with a folder of its own",
    ("wellspring/enclave/intake.py", "RowHasher"): "a digest of rows, of which there is one kind",
    ("wellspring/enclave/socket_server.py", "protocol.PayloadStream"): "a part of the protocol, of which there is one",
}


def adapter_folders() -> dict[Path, frozenset[str]]:
    """Map each folder with a `port.py` to the public classes that its adapters define."""
    adapters: dict[Path, frozenset[str]] = {}
    for port in repository.sources("wellspring"):
        if port.name == "port.py":
            adapters[port.parent] = frozenset(
                node.name
                for path in port.parent.rglob("*.py")
                if path.name not in {"port.py", "registry.py", "settings.py"}
                for node in repository.tree(path).body
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not is_record(node)
            )
    return adapters


def is_record(node: ast.ClassDef) -> bool:
    """Tell whether a class holds values only: a NamedTuple, a frozen model, an enumeration or an error."""
    names = {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases}
    is_dataclass = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    return is_dataclass or bool(names & {"NamedTuple", "Frozen", "Protocol", "Enum", "Exception"})


def constructions() -> set[tuple[str, str]]:
    """List (file, adapter) of each construction outside the composition root and the adapter's own folder."""
    adapters, places = adapter_folders(), set[tuple[str, str]]()
    for path in repository.sources("wellspring"):
        name = path.relative_to(repository.SRC).as_posix()
        if name.startswith((ROOT_FOLDER, "wellspring/embedded/")):
            continue
        foreign = OPENERS.union(*(names for folder, names in adapters.items() if folder not in path.parents))
        places |= {(name, call) for _, call, _ in repository.calls(path) if call.rpartition(".")[2] in foreign}
    return places


def test_adapters_are_constructed_only_by_the_composition_root():
    assert constructions() - EXEMPT.keys() == set()


def test_each_exemption_is_still_needed():
    assert EXEMPT.keys() - constructions() == set()


def test_the_rule_knows_the_adapters():
    classes = frozenset[str]().union(*adapter_folders().values())
    assert {"DiskBlobStore", "OpenBaoSecretStore", "OpenBaoSigner", "VaultStore", "EnclaveClient"} <= classes
