"""The public names of wellspring, which a project and a package of another author import (docs/stability.md).

Every other module is internal and may change in any version. Importing this module loads no heavy package: each name
imports what it needs when it is used.
"""

from wellspring.client import Client, FeatureValues, ModelInfo
from wellspring.data.formats.encoding import ends_with_line_end, find_byte_order_mark, read_text_blocks
from wellspring.data.formats.parsed import (
    BATCH_BYTES,
    BATCH_ROWS,
    ParsedBatch,
    attach_findings,
    check_header,
    default_subject,
    file_refused,
)
from wellspring.data.formats.port import FileFormat, FileSample, RowReader
from wellspring.data.sources.port import (
    FileSource,
    FileStream,
    RemoteFile,
    SecretKey,
    SourceContext,
    SourceKind,
    SourceProblem,
    check_size,
    file_not_found,
    file_still_writing,
    file_unreadable,
    is_ignored,
    is_unsafe,
    judge_age,
)
from wellspring.errors import CorruptedError, NotFound, ProjectError, Refused, Unavailable, WellspringError
from wellspring.lake.iceberg.catalog import IcebergCatalog
from wellspring.lake.port import BUILT_NAMESPACE, LANDED_NAMESPACE, Catalog, CatalogAdapter, Snapshot, Table
from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.estimators.onnx.estimator import Onnx
from wellspring.models.estimators.port import (
    Estimator,
    FeatureColumns,
    FitSettings,
    FittedModel,
    Hyperparameters,
    LabeledRows,
    Objective,
    ObjectiveKind,
    TunedModel,
    TuningProgress,
)
from wellspring.models.estimators.search import HyperparameterSearch
from wellspring.models.estimators.sklearn.estimator import SklearnPipeline
from wellspring.models.metrics.intervals import (
    PairedComparison,
    bootstrap_estimate,
    compare_by_bootstrap,
    wilson_interval,
)
from wellspring.models.spec.baselines import Baseline
from wellspring.models.spec.definition import Label, ModelDefinition, Subgroup, TimeSplit
from wellspring.models.tasks.binary import Binary, BinaryCriteria
from wellspring.models.tasks.multiclass import Multiclass, MulticlassCriteria
from wellspring.models.tasks.port import (
    AcceptanceCriteria,
    DecodedOutput,
    Decoder,
    GateFinding,
    Task,
    TaskLabels,
    count_class_rows,
    failed_finding,
    inconclusive_finding,
)
from wellspring.models.tasks.regression import Regression, RegressionCriteria
from wellspring.models.tasks.threshold import Threshold
from wellspring.project import Project, load_project
from wellspring.query.port import (
    FLOAT_TOLERANCE,
    Capabilities,
    DbtBackend,
    DbtDialect,
    DbtRun,
    DbtSource,
    PastComparison,
    QueryEngine,
    QueryEngineAdapter,
    RowCounts,
    joined_column_name,
)
from wellspring.records.clock import Clock, SystemClock
from wellspring.records.content import BytesContent, FileContent
from wellspring.records.contracts import ContractColumn, DataContract, EgressRule, RowRule
from wellspring.records.decisions import DecisionRule, MostLikelyRule, ThresholdRule, ValueRule
from wellspring.records.features import FeatureRow, FeatureSpec, FeatureViews, FeatureViewSpec
from wellspring.records.ingestion import Drop, RowAccount
from wellspring.records.lake import Edition
from wellspring.records.models import (
    ClassProbability,
    Estimate,
    EvaluationReport,
    FeatureAttribution,
    Prediction,
    SubgroupMetrics,
)
from wellspring.records.record import Digest, Frozen, Instant
from wellspring.records.tables import ParquetTable, StoredTable, TableInput
from wellspring.records.trust import Entry
from wellspring.records.verdict import Reason, Verdict, VerdictOutcome
from wellspring.settings import SettingsSection, SourceSettings
from wellspring.stores.locks.port import Lease, LocksAdapter, ResourceLocks
from wellspring.stores.online.port import (
    LiveMarker,
    OnlineReader,
    OnlineStoreAdapter,
    OnlineWriter,
    StoreLogin,
    WriteResult,
    token_required,
)
from wellspring.trust.dlp.checksums import Checksum
from wellspring.trust.dlp.detector import Detector, DetectorPack, PiiPattern
from wellspring.trust.dlp.scanner import PiiScanner

__all__ = [
    "BATCH_BYTES",
    "BATCH_ROWS",
    "BUILT_NAMESPACE",
    "FLOAT_TOLERANCE",
    "LANDED_NAMESPACE",
    "AcceptanceCriteria",
    "Baseline",
    "Binary",
    "BinaryCriteria",
    "BytesContent",
    "Capabilities",
    "Catalog",
    "CatalogAdapter",
    "Checksum",
    "ClassProbability",
    "Client",
    "Clock",
    "ContractColumn",
    "CorruptedError",
    "DataContract",
    "DbtBackend",
    "DbtDialect",
    "DbtRun",
    "DbtSource",
    "DecisionRule",
    "DecodedOutput",
    "Decoder",
    "Detector",
    "DetectorPack",
    "Digest",
    "Drop",
    "Edition",
    "EgressRule",
    "Entry",
    "Estimate",
    "Estimator",
    "EvaluationReport",
    "FeatureAttribution",
    "FeatureColumns",
    "FeatureRow",
    "FeatureSpec",
    "FeatureValues",
    "FeatureViewSpec",
    "FeatureViews",
    "FileContent",
    "FileFormat",
    "FileSample",
    "FileSource",
    "FileStream",
    "FitSettings",
    "FittedModel",
    "Frozen",
    "GateFinding",
    "HyperparameterSearch",
    "Hyperparameters",
    "IcebergCatalog",
    "Instant",
    "Label",
    "LabeledRows",
    "Lease",
    "LightGBM",
    "LiveMarker",
    "LocksAdapter",
    "ModelDefinition",
    "ModelInfo",
    "MostLikelyRule",
    "Multiclass",
    "MulticlassCriteria",
    "NotFound",
    "Objective",
    "ObjectiveKind",
    "OnlineReader",
    "OnlineStoreAdapter",
    "OnlineWriter",
    "Onnx",
    "PairedComparison",
    "ParquetTable",
    "ParsedBatch",
    "PastComparison",
    "PiiPattern",
    "PiiScanner",
    "Prediction",
    "Project",
    "ProjectError",
    "QueryEngine",
    "QueryEngineAdapter",
    "Reason",
    "Refused",
    "Regression",
    "RegressionCriteria",
    "RemoteFile",
    "ResourceLocks",
    "RowAccount",
    "RowCounts",
    "RowReader",
    "RowRule",
    "SecretKey",
    "SettingsSection",
    "SklearnPipeline",
    "Snapshot",
    "SourceContext",
    "SourceKind",
    "SourceProblem",
    "SourceSettings",
    "StoreLogin",
    "StoredTable",
    "Subgroup",
    "SubgroupMetrics",
    "SystemClock",
    "Table",
    "TableInput",
    "Task",
    "TaskLabels",
    "Threshold",
    "ThresholdRule",
    "TimeSplit",
    "TunedModel",
    "TuningProgress",
    "Unavailable",
    "ValueRule",
    "Verdict",
    "VerdictOutcome",
    "WellspringError",
    "WriteResult",
    "attach_findings",
    "bootstrap_estimate",
    "check_header",
    "check_size",
    "compare_by_bootstrap",
    "count_class_rows",
    "default_subject",
    "ends_with_line_end",
    "failed_finding",
    "file_not_found",
    "file_refused",
    "file_still_writing",
    "file_unreadable",
    "find_byte_order_mark",
    "inconclusive_finding",
    "is_ignored",
    "is_unsafe",
    "joined_column_name",
    "judge_age",
    "load_project",
    "read_text_blocks",
    "token_required",
    "wilson_interval",
]
