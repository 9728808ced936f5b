"""Proves that a sweep whose images are kept outside of the store, in a folder or on a real S3 server, reads like any other: made,
exported, shown, reported, verified; and that what is missing or wrong outside is found and said in one line."""
import os
import secrets
import socket
import subprocess
import unittest

from harness import Case, null_spec

CELLS = 60
VERSITYGW = os.environ.get("PROMPTSWEEP_VERSITYGW")
SETTINGS = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL"]


class ImagesCase(Case):
    def setUp(self):
        super().setUp()
        self.set_environment({})

    def set_environment(self, settings):
        for name in SETTINGS:
            before = os.environ.pop(name, None)
            if before is not None:
                self.addCleanup(os.environ.__setitem__, name, before)
            else:
                self.addCleanup(os.environ.pop, name, None)
        os.environ.update(settings)

    def spec(self, images, name="t", **settings):
        return self.write(f"{name}.yaml", f"images: {images}\n" + null_spec(name=name, seeds=f"0..{CELLS - 1}", **settings))

    def objects(self, folder):
        found = []
        for where, _, names in os.walk(folder):
            found += [os.path.join(where, name) for name in names if name.endswith(".webp")]
        return sorted(found)

    def check_reads(self, images, folder):
        """Everything that reads images, on a finished sweep; `folder` is where its objects are."""
        store = ["--store", self.path("store")]
        verdict = self.json("verify", "--deep", *store)
        self.assertTrue(verdict["sound"], verdict)
        self.assertEqual(int(verdict["sweeps"][0]["images_elsewhere"]), CELLS)
        self.assertEqual(int(verdict["sweeps"][0]["images_checked"]), CELLS)
        self.assertIn("images outside of the store", self.cli("verify", *store)[0])
        out = self.path("out")
        self.assertEqual(self.json("export", "t", *store, "--out", out)["images_written"], CELLS)
        for row in self.rows().values():
            with open(os.path.join(out, "images", f"{row['ordinal']}.webp"), "rb") as file, \
                 open(os.path.join(folder, row["image_digest"][:2], row["image_digest"] + ".webp"), "rb") as kept:
                self.assertEqual(file.read(), kept.read())
        self.cli("show", "t", "3", *store, "--out", self.path("three.png"))
        self.assertGreater(os.path.getsize(self.path("three.png")), 60)
        self.assertIn(f"images go to {images}", self.cli("plan", self.path("t.yaml"))[0])
        # Not a byte of a picture is in the store's own folder.
        with open(self.objects(folder)[0], "rb") as file:
            picture = file.read()
        for where, _, names in os.walk(self.path("store")):
            for name in names:
                with open(os.path.join(where, name), "rb") as file:
                    self.assertNotIn(picture, file.read(), name)

    def check_damage(self, folder):
        """One object is gone: named by verify, by export and by show."""
        store = ["--store", self.path("store")]
        digest = self.rows()[7]["image_digest"]
        os.remove(os.path.join(folder, digest[:2], digest + ".webp"))
        self.assertTrue(self.json("verify", *store)["sound"], "only --deep looks at objects")
        verdict = self.json("verify", "--deep", *store, code=1)
        lost = [ordinal for ordinal, row in self.rows().items() if row["image_digest"] == digest]
        problems = verdict["sweeps"][0]["problems"]
        self.assertEqual(len(problems), len(lost), problems)
        self.assertTrue(all("gone" in problem for problem in problems), problems)
        self.assertTrue(any("cell 7:" in problem for problem in problems), problems)
        _, err = self.cli("export", "t", *store, "--out", self.path("again"), code=2)
        self.assertIn("cell", err)
        self.assertIn("gone", err)


class FolderTest(ImagesCase):
    def test_a_folder(self):
        images = "file://" + self.path("images")
        self.cli("run", self.spec(images + "/"), "--store", self.path("store"), "--no-motifs", "-q")
        self.check_reads(images, self.path("images"))
        # The same cells again: the same objects, none is written twice.
        before = {path: os.stat(path).st_mtime_ns for path in self.objects(self.path("images"))}
        self.cli("run", self.spec(images, name="u"), "--store", self.path("store2"), "--no-motifs", "-q")
        self.assertEqual({path: os.stat(path).st_mtime_ns for path in self.objects(self.path("images"))}, before)
        self.check_damage(self.path("images"))

    def test_a_folder_that_comes_back(self):
        # Nobody may write: workers wait, nobody is blamed, and it goes on once the place is there.
        self.write("images", "a file stands where the folder should")
        run = self.run_in_background(self.spec("file://" + self.path("images")), "--no-motifs", "--verbose")
        run.wait_for_line("putting images|trying again")
        self.assertEqual(self.json("status", 1, "--server", run.address)["failed"], 0)
        os.remove(self.path("images"))
        self.assertEqual(run.wait(), 0)
        self.verify(CELLS, CELLS)

    def test_mistakes_are_said_with_their_place(self):
        for images in ["s3://", "s3://b", "file://x", "gs://bucket", "/data", "s3://bucket/../x", "[a]"]:
            _, err = self.cli("plan", self.spec(images), code=2)
            self.assertRegex(err, r"t\.yaml:1:\d+: images")
            self.assertEqual(err.count("\n"), 1)

    def test_missing_credentials_end_the_run_in_one_line(self):
        _, err = self.cli("run", self.spec("s3://bucket/x"), "--store", self.path("store"), "--no-motifs", "-q", code=2)
        self.assertIn("AWS_ACCESS_KEY_ID", err)
        self.assertEqual(self.json("status", 1, "--store", self.path("store"))["failed"], 0)


@unittest.skipUnless(VERSITYGW, "PROMPTSWEEP_VERSITYGW is not set: no S3 server here")
class ServerTest(ImagesCase):
    def setUp(self):
        super().setUp()
        os.makedirs(self.path("s3", "bucket"))
        os.makedirs(self.path("sidecar"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.key, self.secret = secrets.token_hex(10), secrets.token_hex(20)
        self.serve()
        self.set_environment({"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret,
                              "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.port}"})

    def serve(self):
        server = subprocess.Popen([VERSITYGW, "--port", f"127.0.0.1:{self.port}", "--quiet", "posix", "--sidecar", self.path("sidecar"), self.path("s3")], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  env={"ROOT_ACCESS_KEY": self.key, "ROOT_SECRET_KEY": self.secret, "HOME": self.folder, "PATH": os.environ["PATH"]})

        def stop():
            server.kill()
            server.wait()
        self.addCleanup(stop)
        self.stop_server = stop

        def answers():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        self.wait_until(answers, "versitygw listens")

    def test_a_bucket(self):
        images = "s3://bucket/some/prefix"
        self.cli("run", self.spec(images), "--store", self.path("store"), "--no-motifs", "-q")
        folder = self.path("s3", "bucket", "some", "prefix")
        self.assertEqual(len(self.objects(folder)), len({row["image_digest"] for row in self.rows().values()}))
        self.check_reads(images, folder)
        self.check_damage(folder)
        # No secret is kept anywhere.
        for where, _, names in os.walk(self.path("store")):
            for name in names:
                with open(os.path.join(where, name), "rb") as file:
                    content = file.read()
                self.assertNotIn(self.secret.encode(), content, name)
                self.assertNotIn(self.key.encode(), content, name)

    def test_a_server_that_goes_and_comes(self):
        run = self.run_in_background(self.spec("s3://bucket/x", delay_ms="[20]"), "--no-motifs", "--verbose")
        self.wait_for_done(run.address, 10)
        self.stop_server()
        run.wait_for_line("putting images|images are out of reach")
        self.serve()
        self.assertEqual(run.wait(), 0)
        self.verify(CELLS, CELLS)
        self.assertFalse([line for line in run.err + run.out if self.secret in line or self.key in line])


if __name__ == "__main__":
    unittest.main()
