"""Serve HTTP on a Unix socket: process start, routes, peer authentication and connection limits."""
