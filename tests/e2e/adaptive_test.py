"""Proves that a sweep with a stop rule grows until the rule has its answer or its most cells, and that a kill changes nothing."""
import unittest

from harness import SIGKILL, Case


def spec(name, rule):
    return (f"version: 1\nname: {name}\nembedders: [null-embed]\nstop: {rule}\ncells:\n  chain:\n"
            "    - product: {model: [null], prompt: [{blank: empty}], seed: 0..199, period: 4, delay_ms: [2]}\n"
            "    - product: {model: [null], prompt: [a dog, a house, a tree, a boat], seed: 0..49}\n")


class AdaptiveTest(Case):
    def run_to_end(self, path, store="store"):
        return self.json("run", path, "--store", self.path(store), "--workers", "1")

    def test_stops_when_every_motif_is_known(self):
        path = self.write("a.yaml", spec("a", "{motif_ci_halfwidth: 0.1, max_cells: 4000}"))
        stop = self.run_to_end(path)["motifs"]["stop"]
        self.assertGreaterEqual(len(stop["looks"]), 2)
        self.assertEqual(stop["looks"][-1]["reason"], "decided")
        self.assertLess(stop["looks"][-1]["cells"], 4000)
        self.assertGreaterEqual(len(stop["motifs"]), 4)
        for motif in stop["motifs"]:
            sequence = motif["sequence"]
            self.assertTrue(motif["decided"], motif)
            self.assertLessEqual(sequence["low"], 0.25)
            self.assertGreaterEqual(sequence["high"], 0.25)
            self.assertLess(sequence["runs"], stop["looks"][-1]["target_runs"], "runs from before the freeze were counted")
        # Run again, nothing is asked again and nothing changes.
        self.assertEqual(self.run_to_end(path)["motifs"]["stop"], stop)

    def test_stops_at_the_most_cells(self):
        path = self.write("b.yaml", spec("b", "{motif_ci_halfwidth: 0.01, max_cells: 700}"))
        result = self.run_to_end(path)
        self.assertEqual(result["motifs"]["stop"]["looks"][-1]["reason"], "max_cells")
        self.assertLessEqual(result["planned"], 700)

    def test_where_nothing_recurs_it_goes_on_until_that_is_sure(self):
        path = self.write("f.yaml", spec("f", "{motif_ci_halfwidth: 0.05, max_cells: 4000}").replace("0..199, period: 4", "1000..1099"))
        run = self.run_in_background(path, "--workers", "1", "--json")
        run.wait_for_line(r"look 1 at 100 target runs: no motif, one in up to .* may be unseen and 10\.00 % are asked; more seeds")
        run.wait_for_line(r"look \d at \d+ target runs: no motif found; one in more than .* of runs would have been seen; stopped")
        run.wait()
        stop = self.run_to_end(path)["motifs"]["stop"]
        self.assertEqual(stop["motifs"], [])
        self.assertGreaterEqual(len(stop["looks"]), 2)
        self.assertEqual(stop["looks"][-1]["reason"], "decided")
        self.assertLessEqual(stop["unseen_below"], stop["unseen_asked"])

    def test_killed_anywhere_it_ends_the_same(self):
        path = self.write("c.yaml", spec("c", "{motif_ci_halfwidth: 0.12, max_cells: 4000}"))
        whole = self.run_to_end(path, "whole")
        for moment in (r"look 1 at", r"look 2 at"):
            run = self.run_in_background(path, "--workers", "1")
            run.wait_for_line(moment)
            run.send(SIGKILL)
            run.wait()
        again = self.run_to_end(path)
        self.assertEqual(again["motifs"]["stop"], whole["motifs"]["stop"])
        self.assertEqual(again["planned"], whole["planned"])

    def test_one_look_at_a_time(self):
        path = self.write("d.yaml", spec("d", "{motif_ci_halfwidth: 0.1, max_cells: 4000}"))
        self.cli("run", path, "--store", self.path("store"), "--no-motifs")
        out, err = self.cli("watch", "d", "--once", "--store", self.path("store"))
        self.assertIn("look 1 at 200 target runs", err)
        self.assertGreater(self.json("status", "d", "--store", self.path("store"))["planned"], 400)

    def test_a_wrong_rule_is_refused_where_it_stands(self):
        for rule, what in [("{motif_halfwidth: 0.1}", "unknown key"), ("{novelty: null}", "novelty"), ("{error: 0.1}", "asks nothing"),
                           ("{novelty: 0.1, max_cells: 10}", "below"), ("{decide_at: 1.5}", "decide_at"), ("{novelty: '0.1'}", "text")]:
            path = self.write("e.yaml", spec("e", rule))
            _, err = self.cli("plan", path, code=2)
            self.assertRegex(err, r"e\.yaml:4:\d+: .*" + what)


if __name__ == "__main__":
    unittest.main()
