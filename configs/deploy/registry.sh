#!/bin/sh
# The registry's server: an MLflow server on PostgreSQL, files in a bucket that is made if it is not there.
# Environment: POSTGRES (USER@HOST:PORT/DATABASE), BUCKET, MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID;
# passwords in the files $SECRETS/postgres_password and $SECRETS/store_password.
set -eu
secrets=${SECRETS:-/run/secrets}
AWS_SECRET_ACCESS_KEY=$(cat "$secrets/store_password")
password=$(cat "$secrets/postgres_password")
export AWS_SECRET_ACCESS_KEY AWS_DEFAULT_REGION="${AWS_DEFAULT_REGION:-us-east-1}" MLFLOW_DISABLE_TELEMETRY=true
# In the environment, not among the arguments: those are shown to everybody on the machine.
export MLFLOW_BACKEND_STORE_URI="postgresql://${POSTGRES%%@*}:$password@${POSTGRES#*@}"
export MLFLOW_ARTIFACTS_DESTINATION="s3://$BUCKET"

python - <<'PYTHON'
import os, time
import boto3
from botocore.exceptions import BotoCoreError, ClientError

store, bucket = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"]), os.environ["BUCKET"]
for attempt in range(30):
    try:
        if bucket not in [each["Name"] for each in store.list_buckets()["Buckets"]]:
            store.create_bucket(Bucket=bucket)
        break
    except (BotoCoreError, ClientError) as error:
        print(f"waiting for the store: {error}", flush=True)
        time.sleep(2)
else:
    raise SystemExit("the store does not answer")
PYTHON
exec mlflow server --host "${HOST:-0.0.0.0}" --port "${PORT:-5000}" --workers 2
