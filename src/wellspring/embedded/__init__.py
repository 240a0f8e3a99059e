"""The servers of one project on one machine: OpenBao, PostgreSQL, Valkey, MLflow, SFTP and the witness."""
