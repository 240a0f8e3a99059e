"""Words that labels contain, and text beside a number that says that it is another number.

A number of an order may have the shape of a Social Security number or of a phone. The words stand in the same phrase,
directly before the number, or behind it with `number`. Some of them are also verbs and need `number` or `#`.
"""

from __future__ import annotations

WORD, LETTER = "[0-9a-z]", "[a-z]"
"""Characters that may not be next to a value, and those that may not stand before a label."""
PERSON = r"(?:member|patient|subscriber|employee|person|insured|spouse|dependent|customer)"
"""Words for the person whose number follows, in a label or a column name."""
GAP = r"[^0-9a-z\]]{0,6}"
"""What stands between a label and its value. The closing bracket of an earlier masking ends it: `[ssn] 900123456`."""
FAR = r"(?:[ _][a-z']{1,12}){1,6}(?: ?[:=]| is| was)"
"""Words between a label and its value: ` of the caller is`, ` on the new form:`."""

_NOUNS = (
    r"orders?|invoices?|claims?|clms?|refs?|references?|p\.?o|purchase order|tracking|shipments?|waybill|awb|parts?"
    r"|p/?n|skus?|lots?|batch(?:es)?|serial|s/?n|tickets?|rma|confirmation|transactions?|txn|receipts?|docket|quotes?|catalog"
    r"|products?|assets?|upc|ean|isbn|issn|ndc|versions?|builds?|barcode|containers?|parcels?|voucher|remittance"
    r"|authorization|requisition|accession|timestamp|epoch|work order"
)
_ABBREVIATIONS = r"(?:ord|inv|ref|clm|trk|tkt|conf|auth|cat|prod)\."
_VERBS_TOO = r"checks?|cheques?|cases?|items?|pages?|forms?|jobs?|models?|bills?|devices?|policy|study|file|document"
_MARK = r"(?:numbers?|num|nos?|nr|nbr|ids?|codes?)"
_EARLIER_NUMBERS = r"(?:[0-9][-0-9]{5,18}(?: ?[,;&/] ?(?:and |or )?| and | or )){0,4}"

OTHER_NUMBER_BEFORE = (
    rf"(?:^|[^a-z])(?:(?:{_NOUNS}|{_ABBREVIATIONS}|ord|inv|trk|tkt)(?: ?[ _-]?{_MARK}\.?)?"
    rf"|(?:{_VERBS_TOO})(?:[ _-]{{0,2}}{_MARK}\.?|[ _]?#))"
    rf"(?: (?:is|was|are|of|the|our|your|under|with|as)){{0,2}}[^0-9a-z.;!?\n]{{0,4}}{_EARLIER_NUMBERS}"
)
"""For `PiiPattern.exclude_before`: `order`, `Invoice no. `, `claims 1234567 and `, `case #`."""
OTHER_NUMBER_AFTER = (
    rf"(?: ?[(=] ?| | (?:is|was) )(?:(?:the|an?|our|your|their) )?(?:{_NOUNS}|{_VERBS_TOO})[ _-]{_MARK}(?:$|[^a-z])"
)
"""For `PiiPattern.exclude_after`: ` is the order number`, ` (claim id)`."""
BEFORE_CODE = r"[0-9][-.]|#|(?:^|[^a-z0-9])(?:[a-z]{1,2}[-_/]|[a-z]{1,4}[0-9]{1,8}_)|[$\u20ac\u00a3] ?"
"""For `PiiPattern.exclude_before`: a code joined to the number, such as `2024-` or `AB_`, or a currency.

An underscore behind a word or a date is the separator of a file name: `ann_lee_2024-05-06_`.
"""
AFTER_CODE = r"[-.][0-9]|_[0-9]{1,3}(?:$|[^-0-9])|[-_][a-z]{1,2}(?:$|[^a-z])|,[0-9]{3}(?:$|[^0-9])|%"
"""For `PiiPattern.exclude_after`: a code joined to the number, such as `-01` or `_A`, or a percent sign."""
OTHER_NUMBER_COLUMN = (
    rf"(?:^|[^a-z])(?:{_NOUNS}|ord|inv|trk|tkt|{_VERBS_TOO})[^a-z]?{_MARK}$"
    r"|(?:^|[^a-z])(?:p\.?o|skus?|lots?|isbn|upc|ndc)$"
)
"""For `PiiPattern.exclude_column`: `order_no`, `claimNumber`, `sku`; not `claim_note`."""
