# Logs, exec and port-forward to the application. Sourced by inside.
# shellcheck shell=bash

try_streams
