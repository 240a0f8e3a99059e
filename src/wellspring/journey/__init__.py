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

from wellspring.journey.building import Prepared as Prepared
from wellspring.journey.building import built_edition as built_edition
from wellspring.journey.building import transform as transform
from wellspring.journey.learning import learn as learn
from wellspring.journey.learning import reproduce as reproduce
from wellspring.journey.proving import Pack as Pack
from wellspring.journey.proving import prove as prove
from wellspring.journey.receiving import Outcome as Outcome
from wellspring.journey.receiving import Progress as Progress
from wellspring.journey.receiving import Received as Received
from wellspring.journey.receiving import account as account
from wellspring.journey.receiving import receive as receive
from wellspring.journey.receiving import recover as recover
from wellspring.journey.receiving import replay as replay
from wellspring.journey.releasing import approve as approve
from wellspring.journey.releasing import propose as propose
from wellspring.journey.releasing import replay_answers as replay_answers
from wellspring.journey.releasing import rollback as rollback
