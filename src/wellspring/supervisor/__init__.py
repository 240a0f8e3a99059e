"""Starts, monitors and stops the embedded servers of a project in one detached supervisor process."""
