"""The project's contracts as the enclave accepts them: it reads the files itself, and remembers what it accepted."""

from __future__ import annotations

from wellspring.data import contract as contracts
from wellspring.errors import Broken, Refused
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.records.data import Contract
from wellspring.records.observe import Step
from wellspring.records.record import Digest, stamp
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.vault.kept import Fact
from wellspring.trust.vault.postgres import VaultStore


class Promises:
    """What suppliers promised. The caller names a contract by its digest; only what stands in the project counts."""

    def __init__(self, project: Project, store: VaultStore, *, step: Step, clock: Clock) -> None:
        self._project = project
        self._store = store
        self._step = step
        self._clock = clock

    def every(self) -> tuple[Contract, ...]:
        """Read all contracts now. Raises ProjectError."""
        return contracts.load_all(
            self._project.contracts,
            tenant=self._project.tenant,
            known_since=self._clock.now(),
            sources=self._project.sources,
        )

    def accepted(self, digest: Digest, *, source: str | None = None, name: str = "") -> Contract:
        """Find the project's contract with this digest and accept it. source, name: the file that it must match.

        Raises Refused: there is none, the file is another contract's, it was changed and not its version, or it
        protects a column less than the version that was accepted last: that takes a second person.
        """
        known = self.every()
        found = [one for one in known if one.digest == digest]
        if not found:
            raise Refused(
                f"the project has no contract with the digest {digest[:12]}...",
                fix="the file was changed meanwhile: run the command again",
            )
        if source is not None and contracts.match(known, source, name).digest != digest:
            raise Refused(
                f"{name} does not come under {found[0].name}", fix="name the contract whose `files` it matches"
            )
        self._accept(found[0])
        return found[0]

    def known(self, digest: Digest) -> Contract:
        """Return a contract that was accepted once, whatever stands in the project today. Raises Broken."""
        contract = self._store.contract(digest)
        if contract is None:
            raise Broken(
                f"the contract {digest[:12]}... of a kept drop is not known", fix="restore the enclave's database"
            )
        return contract

    def _accept(self, contract: Contract) -> None:
        newest = self._store.newest_contract(contract.name)
        if newest is not None and newest.digest == contract.digest:
            return
        looser = contracts.loosened(newest, contract) if newest is not None else ()
        subject = f"contract:{contract.name}@{contract.version}"
        now = stamp(self._clock.now())
        inputs = (Ref(name=subject, digest=contract.digest),)
        fact = Fact(f"accept/{contract.digest}/{now}", "accept", subject, inputs, (), {"accepted": now})
        with self._step("accept", subject, inputs=inputs) as act:
            if newest is not None and newest.version == contract.version:
                said = f"{contract.name} was changed, and is still called {contract.version}"
                raise Refused(
                    said,
                    fix="raise its version: a story names the contract of its own day by name and version",
                    verdict=Verdict(subject=subject, outcome="fail", reasons=(Reason(code="same_version", what=said),)),
                )
            if looser:
                raise Refused(
                    f"{contract.name} {contract.version} protects less than the version before:\n" + "\n".join(looser),
                    fix="put the classification back, or bring the column in under a new name: loosening one takes a "
                    "second person, whom no command asks yet",
                    verdict=Verdict(
                        subject=subject,
                        outcome="fail",
                        reasons=tuple(Reason(code="loosened", what=what) for what in looser),
                    ),
                )
            act.note(**fact.facts)
            self._store.accept_contract(contract, fact)
        self._store.told(fact.key)
