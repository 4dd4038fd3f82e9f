"""What every draft costs on the target's own answers: labels for routers, measured by exact replay."""
