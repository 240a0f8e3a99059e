"""The workflows: ingest, replay, transform, train, release, predict, prove. Read this module first.

ingest       drops of a vendor -> landed, admitted in the enclave -> staged, audited -> one landed edition
drops        a drop that was not published -> withdrawn, or judged again by the contract in force, as a user decides
findings     problems with files -> listed, acknowledged by a user, closed when their file changes
replay       quarantined rows -> validated by the current contract -> the next landed edition
person_rows  earlier drops -> read in the enclave -> a sealed row of each person who has none
retain       old built editions that nothing names -> retired; unnamed files -> removed; small files -> compacted
holds        a built edition that is kept longer -> as a user decides
transform    the newest landed edition -> dbt, leakage audit -> one built edition -> the newest features online
             and those of the warm releases, each built with its own dbt code
train        a built edition and a model file -> point-in-time training set -> trained, evaluated -> a candidate
evaluate     the files of a live release and a newer built edition -> scored and gated again -> a candidate
contracts    the first version of a contract with its first drop, each later one by a release -> in force
changes      policies, dbt code, contracts on disk -> drafted in words, proposed and approved as a model is -> live
propose, approve, rollback   a candidate -> proposed by one user, approved by another -> the live release
deploy, undeploy   an approved release -> answers a share of the requests beside the live one, or no longer
predict      served by the API (api/app.py, serving/service.py); each prediction is journalled before it is sent
replay       predictions -> their rows from the lake -> features and score recomputed, equal bit by bit
outcomes     the predictions in the log, and labels that became known later -> the tables `prediction`, `outcome`
queries      lists of drops, candidates, releases and users; the history of a model; the newest entity keys
prove        a subject -> its provenance story, sealed in the ledger -> a pack that verifies without the platform

Every step is recorded through `step`. Workflows open no ports: they receive an open `Platform`.
"""

from wellspring.workflows.change_releases import ChangeSummary as ChangeSummary
from wellspring.workflows.change_releases import DraftedChange as DraftedChange
from wellspring.workflows.change_releases import adopt_first_content as adopt_first_content
from wellspring.workflows.change_releases import approve_change as approve_change
from wellspring.workflows.change_releases import draft_change as draft_change
from wellspring.workflows.change_releases import list_changes as list_changes
from wellspring.workflows.change_releases import propose_change as propose_change
from wellspring.workflows.contracts_in_force import list_unreleased as list_unreleased
from wellspring.workflows.deployments import deploy_release as deploy_release
from wellspring.workflows.deployments import undeploy_release as undeploy_release
from wellspring.workflows.drops import DropSummary as DropSummary
from wellspring.workflows.drops import describe_drop as describe_drop
from wellspring.workflows.drops import discard_quarantined as discard_quarantined
from wellspring.workflows.drops import list_drops as list_drops
from wellspring.workflows.drops import rejudge_drop as rejudge_drop
from wellspring.workflows.drops import withdraw_drop as withdraw_drop
from wellspring.workflows.feature_diff import diff_release_features as diff_release_features
from wellspring.workflows.findings import acknowledge_finding as acknowledge_finding
from wellspring.workflows.findings import list_findings as list_findings
from wellspring.workflows.holds import change_hold as change_hold
from wellspring.workflows.holds import list_holds as list_holds
from wellspring.workflows.ingest import FileResult as FileResult
from wellspring.workflows.ingest import WorkflowProgress as WorkflowProgress
from wellspring.workflows.ingest import ingest_source as ingest_source
from wellspring.workflows.ingest import recover_interrupted_ingests as recover_interrupted_ingests
from wellspring.workflows.ingest import replay_drop as replay_drop
from wellspring.workflows.ingest_result import IngestResult as IngestResult
from wellspring.workflows.ingest_result import build_row_account as build_row_account
from wellspring.workflows.outcomes import record_outcomes as record_outcomes
from wellspring.workflows.outcomes import summarize_outcomes as summarize_outcomes
from wellspring.workflows.person_rows import BackfillResult as BackfillResult
from wellspring.workflows.person_rows import backfill_person_rows as backfill_person_rows
from wellspring.workflows.prove import WrittenPack as WrittenPack
from wellspring.workflows.prove import prove_subject as prove_subject
from wellspring.workflows.release import approve_release as approve_release
from wellspring.workflows.release import draft_release as draft_release
from wellspring.workflows.release import propose_release as propose_release
from wellspring.workflows.release import replay_predictions as replay_predictions
from wellspring.workflows.release import rollback_release as rollback_release
from wellspring.workflows.retain import RetentionResult as RetentionResult
from wellspring.workflows.retain import retain_editions as retain_editions
from wellspring.workflows.train import evaluate_release as evaluate_release
from wellspring.workflows.train import reproduce_run as reproduce_run
from wellspring.workflows.train import train_model as train_model
from wellspring.workflows.transform import TransformResult as TransformResult
from wellspring.workflows.transform import latest_built_edition as latest_built_edition
from wellspring.workflows.transform import refresh_features as refresh_features
from wellspring.workflows.transform import run_transform as run_transform
