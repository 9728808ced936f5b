"""ray: COUNT tasks that do nothing, on WORKERS processes. Prints the seconds from the first submit to the last result."""
import sys
import time

import ray


@ray.remote
def nothing():
    return None


def main():
    count, workers = int(sys.argv[1]), int(sys.argv[2])
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    ray.get([nothing.remote() for _ in range(100)])
    start = time.monotonic()
    ray.get([nothing.remote() for _ in range(count)])
    print(time.monotonic() - start)
    ray.shutdown()


if __name__ == "__main__":
    main()
