"""The whole road: receive, replay, transform, materialize, learn, release, prove. READ THIS FIRST.

receive      a vendor's drops -> (inside the enclave: land, admit) -> staged, audited -> one landed edition, or why not
replay       rows that waited in quarantine -> judged again by the contract of today -> the next landed edition
prove        anything with a name -> its story, sealed in the log, that verifies without the house

Every step records itself through `step`; nothing here opens a port: the `Assembly` is handed in by the door.
"""

from wellspring.journey.proving import Pack as Pack
from wellspring.journey.proving import prove as prove
from wellspring.journey.receiving import Outcome as Outcome
from wellspring.journey.receiving import Progress as Progress
from wellspring.journey.receiving import Received as Received
from wellspring.journey.receiving import account as account
from wellspring.journey.receiving import receive as receive
from wellspring.journey.receiving import recover as recover
from wellspring.journey.receiving import replay as replay
