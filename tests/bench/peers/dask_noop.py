"""dask.distributed: COUNT tasks that do nothing, on WORKERS processes of one thread. Prints the seconds from the first submit to the
last result."""
import sys
import time

from distributed import Client, LocalCluster, wait


def nothing(_):
    return None


def main():
    count, workers = int(sys.argv[1]), int(sys.argv[2])
    with LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, Client(cluster) as client:
        wait(client.map(nothing, range(100), pure=False, key="warm"))
        start = time.monotonic()
        wait(client.map(nothing, range(count), pure=False, key="run"))
        print(time.monotonic() - start)


if __name__ == "__main__":
    main()
