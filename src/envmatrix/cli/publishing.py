"""Commands about images in registries, and of unknown origin: publish, pull, inspect."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Annotated, Any

import typer

from envmatrix.cli.arguments import AsJson, Profile, Select
from envmatrix.cli.completing import selectors
from envmatrix.cli.printing import counted, print_json, say
from envmatrix.cli.stories import print_audit
from envmatrix.cli.workspace import Workspace, workspace_of
from envmatrix.model.errors import InputError, SurroundingsError

if TYPE_CHECKING:
    from envmatrix.engine.client import Engine
    from envmatrix.engine.signing import Signer, Verifier
    from envmatrix.model.cells import Cell
    from envmatrix.report.identity import Identity
    from envmatrix.report.signatures import Signatures
    from envmatrix.stages.publish import Outcome, Published
    from envmatrix.stages.recipes import Built

TrustConfig = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The trust configuration of a sigstore of your own."),
]


def publish(
    context: typer.Context,
    select: Select = None,
    profile: Profile = None,
    *,
    registry: Annotated[
        str,
        typer.Option(help="The registry, with a path if you like: registry.example.org/team."),
    ],
    partial: Annotated[
        bool, typer.Option("--partial", help="Also what is partial. Its tags say so.")
    ] = False,
    emulated: Annotated[
        bool, typer.Option("--emulated", help="Also what was built and run under emulation.")
    ] = False,
    attestations: Annotated[
        bool,
        typer.Option("--attestations", help="Attach SBOM, provenance and test results."),
    ] = False,
    sign_key: Annotated[
        Path | None,
        typer.Option(
            help="Sign them with this private key in PEM. "
            "Its passphrase: ENVMATRIX_SIGN_PASSPHRASE.",
        ),
    ] = None,
    sign: Annotated[
        bool,
        typer.Option("--sign", help="Sign them by sigstore with the identity that CI gives."),
    ] = False,
    trust_config: TrustConfig = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask the registry, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Push the images of cells that work, and note them in reports/published.json."""
    from envmatrix.cli.at_work import at_work
    from envmatrix.engine.client import Engine
    from envmatrix.stages.publish import Asked, refuse_nothing

    workspace = workspace_of(context)
    cells = workspace.choose(select, profile)
    asked = Asked(registry, partial, emulated, dry_run)
    signer = _signer(sign_key, trust_config, attestations=attestations, by_identity=sign)
    publisher = workspace.publisher
    if signer:
        from envmatrix.stages.signing import Signing

        signing = Signing(signer, workspace.attesting.statements)
        publisher = replace(publisher, attach=signing.attach)
    elif attestations:
        publisher = replace(publisher, attach=workspace.attesting.attach)
    with at_work(workspace) as progress, Engine.connect(progress.tell) as engine:
        done = publisher.publish(cells, asked, engine, progress)
    refuse_nothing(done)
    if as_json:
        print_json(done.to_json())
    else:
        _print_published(done, workspace)
    if done.is_bad:
        raise typer.Exit(3)


def _signer(
    key: Path | None, trust: Path | None, *, attestations: bool, by_identity: bool
) -> Signer | None:
    """Return what signs; None: nothing is signed.

    Raises:
        InputError: the options contradict each other, or the key cannot be used.
        SurroundingsError: a library is missing, or sigstore cannot be reached.
    """
    if not (key or by_identity):
        return None
    given = "--sign-key" if key else "--sign"
    if not attestations:
        raise InputError(
            f"{given} signs attestations, and none are attached",
            where=given,
            next_step=f"give --attestations, too: `envmatrix publish --attestations {given} ...`",
        )
    if key and by_identity:
        raise InputError(
            "--sign-key signs with a key, and --sign with an identity",
            where="--sign",
            next_step="leave one of the two out",
        )
    from envmatrix.engine.signing import PASSPHRASE, IdentitySigner, KeySigner

    if key:
        return KeySigner.load(key, os.environ.get(PASSPHRASE, ""))
    return IdentitySigner.open(trust)


def _print_published(done: Published, workspace: Workspace) -> None:
    for one in done.cells:
        _print_outcome(one, dry=done.dry)
    for tag in done.tags:
        why = f": {tag.why}" if tag.why else ""
        say(f"{tag.state:<10}  tag {tag.repository}:{tag.tag} -> {tag.cell}{why}")
    images = [one.publication for one in done.cells if one.publication]
    if done.dry:
        say(f"nothing was changed: {counted(len(images), 'image')} would be published")
        return
    moved = sum(one.publication.pushed for one in done.cells if one.publication and _is_new(one))
    say(f"{counted(len(images), 'image')} published, {moved / 1e6:.1f} MB moved")
    if images:
        say(f"noted in {workspace.layout.shown(workspace.layout.publications)}: commit it")


def _is_new(one: Outcome) -> bool:
    from envmatrix.stages.moving_tags import State

    return one.state is State.PUSHED


def _print_outcome(one: Outcome, *, dry: bool) -> None:
    image = one.publication
    if image is None:
        say(f"{one.state:<10}  {one.cell}: {one.why}")
        if one.next_step:
            say(f"            next: {one.next_step}")
        return
    name = f"{image.registry}/{image.repository}:{image.tag}"
    if dry and _is_new(one):
        say(f"would push  {name}")
        return
    size = f" ({image.pushed / 1e6:.1f} MB)" if _is_new(one) else ""
    say(f"{one.state:<10}  {name}{size}")


def pull(
    context: typer.Context,
    select: Annotated[
        list[str],
        typer.Argument(
            metavar="CELL...", autocompletion=selectors, help="Cell ids, globs or axis=value."
        ),
    ],
    *,
    registry: Annotated[
        str, typer.Option(help="Only from this registry. Default: that of the last publish.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Take the published images of cells, by digest, if they are those of their evidence."""
    from envmatrix.cli.at_work import at_work
    from envmatrix.engine.client import Engine
    from envmatrix.model.image_names import cell_tag, run_command
    from envmatrix.model.publications import split_registry

    workspace = workspace_of(context)
    cells = workspace.choose(select, None)
    host = split_registry(registry)[0] if registry else ""
    with at_work(workspace) as progress, Engine.connect(progress.tell) as engine:
        progress.expect("pull", len(cells))
        taken: dict[str, Built] = {}
        for cell in cells:
            progress.started("pull", cell.id)
            found = taken[cell.id] = _pulled(workspace, engine, cell, host)
            progress.finished("pull", cell.id, found.said, reused=found.reused)
    accelerators = workspace.matrix.axes.accelerator
    told = {
        cell.id: run_command(cell_tag(cell), gpus=accelerators[cell.accelerator].cuda is not None)
        for cell in cells
    }
    if as_json:
        images: list[dict[str, Any]] = [
            {
                "id": cell.id,
                "name": cell_tag(cell),
                "layers": list(taken[cell.id].image.layers),
                "start": told[cell.id],
            }
            for cell in cells
        ]
        print_json({"schema": 1, "cells": images})
    else:
        say(*(f"start it: {command}" for command in told.values()))


def _pulled(workspace: Workspace, engine: Engine, cell: Cell, registry: str) -> Built:
    from envmatrix.stages.image_records import ImageRecords

    resolution = workspace.resolutions.of_cell(cell)
    if resolution is None or resolution.lock is None:
        raise InputError(
            f"{cell.id} has no lock, so no image of it can be told to be the right one",
            where=cell.id,
            next_step=f"`envmatrix lock {cell.id}`",
        )
    images = ImageRecords(workspace.records, engine)
    return workspace.pulling.pull(images, cell, resolution.lock, registry)


def inspect(
    context: typer.Context,
    image: Annotated[str, typer.Argument(help="A name, an id or a digest that the engine has.")],
    *,
    key: Annotated[
        Path | None,
        typer.Option(help="Verify the signatures of its attestations with this public key."),
    ] = None,
    identity: Annotated[
        str,
        typer.Option(help="Verify that they are signed by this identity, such as a workflow."),
    ] = "",
    issuer: Annotated[
        str, typer.Option(metavar="URL", help="Who proved the identity: the issuer of OIDC.")
    ] = "",
    trust_config: TrustConfig = None,
    as_json: AsJson = False,
) -> None:
    """Tell what an image is: its cell, its lock, its evidence, and whether it can be rebuilt."""
    from envmatrix.engine.client import Engine

    workspace = workspace_of(context)
    verifier = _verifier(key, identity, issuer, trust_config)
    with Engine.connect() as engine:
        found = engine.images.find(image)
        if found is None:
            raise SurroundingsError(
                f"the engine has no image {image!r:.200}",
                where="inspect",
                next_step="`docker images 'envmatrix/*'` lists those of envmatrix; "
                "`envmatrix pull CELL` takes a published one",
            )
    config = found.config["config"]
    from envmatrix.report.identity import CELL, identify

    labels = config.get("Labels") or {}
    cell = next((one for one in workspace.cells if one.id == labels.get(CELL)), None)
    known = workspace.pulling.candidates(cell) if cell else ()
    bootstrapped = any(one.base and one.base.origin == "bootstrap" for one in known)
    missing = ["mmdebstrap is not installed"] if bootstrapped and not which("mmdebstrap") else []
    known_as = identify(
        labels,
        found.layers,
        known,
        workspace.pulling.inputs_of(cell) if cell else None,
        workspace.publications,
        is_declared=cell is not None,
        missing=missing,
    )
    signed = _signatures(workspace, known_as, verifier) if verifier else None
    audit = workspace.auditing.of(known_as.evidence.id) if known_as.evidence else None
    if as_json:
        more = {"signatures": signed.to_json()} if signed else {}
        asked = {"audit": audit.to_json() if audit else None}
        print_json({"schema": 1, "image": image, **known_as.to_json(), **more, **asked})
    else:
        say(*known_as.told)
        if audit and known_as.evidence:
            print_audit(audit, known_as.evidence)
        say(*(signed.told if signed else ()))
    if signed and not signed.is_verified:
        raise SurroundingsError(
            f"the signatures of {image!r:.200} are not verified",
            where=signed.image,
            next_step="do not use the image before you know why: ask who publishes it",
        )


def _verifier(key: Path | None, identity: str, issuer: str, trust: Path | None) -> Verifier | None:
    """Return what knows the signatures that are expected; None: none are asked for.

    Raises:
        InputError: the options contradict each other, or the key cannot be used.
        SurroundingsError: a library is missing, or sigstore cannot be reached.
    """
    if bool(identity) != bool(issuer):
        raise InputError(
            "an identity counts only as its issuer proves it",
            where="--identity" if identity else "--issuer",
            next_step="give both: `--identity https://github.com/.../publish.yml@refs/heads/main "
            "--issuer https://token.actions.githubusercontent.com`",
        )
    if key and identity:
        raise InputError(
            "--key and --identity expect two signers",
            where="--key",
            next_step="leave one of the two out",
        )
    if not (key or identity):
        return None
    from envmatrix.engine.signing import IdentityVerifier, KeyVerifier

    return KeyVerifier.load(key) if key else IdentityVerifier.open(identity, issuer, trust)


def _signatures(workspace: Workspace, known: Identity, verifier: Verifier) -> Signatures:
    from envmatrix.stages.signing import unpublished, verified

    published = workspace.publications.of(known.evidence) if known.evidence else None
    if published is None or known.evidence is None:
        why = "no registry is known to have this image"
        return unpublished(known.claimed, verifier.told, why)
    return verified(published, known.layers, known.evidence.axes.arch, verifier)
