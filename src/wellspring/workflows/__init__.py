"""The whole road: receive, replay, transform, materialize, learn, release, prove. READ THIS FIRST.

receive      a vendor's drops -> (inside the enclave: land, admit) -> staged, audited -> one landed edition, or why not
replay       rows that waited in quarantine -> judged again by the contract of today -> the next landed edition
transform    the newest landed edition -> (dbt, the leak audit) -> one built edition -> the newest features online
learn        a built edition and a model file -> as known then, trained, judged -> a candidate, or why not
propose, approve, rollback   a candidate -> one person asks, another signs -> what answers; either goes back
(ask)        the API answers by itself: api.py, models/desk.py; each answer is journalled before it is sent
replay       answers -> their rows out of the lake, vector and score again, equal to the last bit
prove        anything with a name -> its story, sealed in the log, that verifies without the house

Every step records itself through `step`; nothing here opens a port: the `Assembly` is handed in by the door.
"""

from wellspring.workflows.ingest import FileResult as FileResult
from wellspring.workflows.ingest import IngestResult as IngestResult
from wellspring.workflows.ingest import WorkflowProgress as WorkflowProgress
from wellspring.workflows.ingest import build_row_account as build_row_account
from wellspring.workflows.ingest import ingest_source as ingest_source
from wellspring.workflows.ingest import recover_interrupted as recover_interrupted
from wellspring.workflows.ingest import replay_drop as replay_drop
from wellspring.workflows.prove import WrittenPack as WrittenPack
from wellspring.workflows.prove import prove_subject as prove_subject
from wellspring.workflows.release import approve_release as approve_release
from wellspring.workflows.release import propose_release as propose_release
from wellspring.workflows.release import replay_predictions as replay_predictions
from wellspring.workflows.release import rollback_release as rollback_release
from wellspring.workflows.train import reproduce_run as reproduce_run
from wellspring.workflows.train import train_model as train_model
from wellspring.workflows.transform import TransformResult as TransformResult
from wellspring.workflows.transform import latest_built_edition as latest_built_edition
from wellspring.workflows.transform import run_transform as run_transform
