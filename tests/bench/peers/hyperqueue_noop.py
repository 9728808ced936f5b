"""HyperQueue: COUNT tasks that do nothing, on WORKERS cores. A task of its is always a program: /bin/true, without output files. Prints
the seconds from the submit to the last result."""
import os
import sys
import tempfile
import time

from hyperqueue import Job
from hyperqueue.cluster import LocalCluster, WorkerConfig


def run(client, count):
    job = Job()
    for _ in range(count):
        job.program(["/bin/true"], stdout=None, stderr=None)
    start = time.monotonic()
    client.wait_for_jobs([client.submit(job)])
    return time.monotonic() - start


def main():
    count, workers = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with LocalCluster(server_dir=folder, worker_config=WorkerConfig(cores=workers)) as cluster:
            client = cluster.client()
            run(client, 100)
            print(run(client, count), flush=True)


if __name__ == "__main__":
    main()
