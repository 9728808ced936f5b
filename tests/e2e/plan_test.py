"""Proves that `plan` shows exactly the cells that a spec's definition gives, by expanding random specs a second time, and at once
for sweeps nobody could expand."""
import itertools
import json
import random
import resource
import subprocess
import unittest

from harness import Case, environment, program

AXES = ["model", "prompt", "seed", "period", "width", "height"]
POOLS = {
    "model": ["null"],
    "prompt": ["a", "b", "say \"x\", y", "<blank:empty>", {"blank": "empty"}, {"blank": "whitespace"}, {"blank": "padding"}, {"blank": "null"}],
    "seed": list(range(10)),
    "period": list(range(10)),
    "width": list(range(1, 10)),
    "height": list(range(1, 10)),
}
RANK = {"model": 0, "width": 1, "height": 1, "prompt": 4, "seed": 5}


class Plain(str):
    """Text that stands in the spec without quotes."""


def yaml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml, value)) + "]"
    return str(value) if isinstance(value, Plain) else json.dumps(value)


def key(value):
    return json.dumps(value)


def axes_of(node):
    operator, body = node
    if operator == "axis":
        return {body[0]}
    if operator == "exclude":
        return axes_of(body[0])
    return set().union(*map(axes_of, body))


def speed(node):
    return min((RANK.get(axis, 3), axis) for axis in axes_of(node))


def flat(node):
    """The factors of a product, those of products in it included."""
    return [inner for factor in node[1] for inner in (flat(factor) if factor[0] == "product" else [factor])]


def expand(node):
    operator, body = node
    if operator == "axis":
        return [{body[0]: value} for value in body[2]]
    if operator == "product":
        parts = [expand(factor) for factor in sorted(flat(node), key=speed)]
        return [{k: v for part in cell for k, v in part.items()} for cell in itertools.product(*parts)]
    if operator == "zip":
        return [{k: v for part in cell for k, v in part.items()} for cell in zip(*map(expand, body))]
    if operator == "chain":
        return [cell for part in body for cell in expand(part)]
    source, rules = body
    gone = lambda cell: any(all(key(cell.get(axis)) in values for axis, values in rule) for rule in rules)
    return [cell for cell in expand(source) if not gone(cell)]


def hollow(node):
    """True where some exclusion leaves nothing: a mistake, wherever it stands."""
    operator, body = node
    if operator == "axis":
        return False
    if operator == "exclude":
        return hollow(body[0]) or not expand(node)
    return any(map(hollow, body))


class Writer:
    """Random specs: the YAML, and the same as a tree for expand()."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def axis(self, name, count=None):
        count = count or self.random.randint(1, min(3, len(POOLS[name])))
        if name not in ("model", "prompt") and self.random.random() < 0.5:
            first, step = self.random.randint(1, 4), self.random.choice([1, 2])
            values = [first + step * k for k in range(count)]
            forms = [{"range": [first, first + step * count, step]}, {"range": [values[-1], first - step, -step]}]
            if step == 1:
                forms.append(Plain(f"{first}..{values[-1]}"))
            form = self.random.choice(forms)
            if isinstance(form, dict) and form["range"][2] < 0:
                values = values[::-1]
            return form, ("axis", (name, None, values))
        values = self.random.sample(POOLS[name], count)
        return (values if count > 1 or self.random.random() < 0.5 else values[0]), ("axis", (name, None, values))

    def node(self, axes, depth):
        axes = self.random.sample(axes, len(axes))
        kind = self.random.choice(["map", "product", "chain", "zip", "exclude"]) if depth else "map"
        if kind == "product" and len(axes) > 1:
            at = self.random.randint(1, len(axes) - 1)
            parts = [self.node(axes[:at], depth - 1), self.node(axes[at:], depth - 1)]
            return {"product": [p[0] for p in parts]}, ("product", [p[1] for p in parts])
        if kind == "chain":
            parts = [self.node(axes, depth - 1) for _ in range(self.random.randint(1, 3))]
            return {"chain": [p[0] for p in parts]}, ("chain", [p[1] for p in parts])
        if kind == "zip" and "model" not in axes:
            count = self.random.randint(1, 4)
            parts = {name: self.axis(name, count) for name in axes}
            return {"zip": {n: p[0] for n, p in parts.items()}}, ("zip", [p[1] for p in parts.values()])
        if kind == "exclude":
            source = self.node(axes, depth - 1)
            rules = []
            for _ in range(self.random.randint(1, 3)):
                chosen = self.random.sample(axes, self.random.randint(1, min(2, len(axes))))
                rules.append({name: self.axis(name) for name in chosen})
            return ({"exclude": {"from": source[0], "rules": [{n: p[0] for n, p in rule.items()} for rule in rules]}},
                    ("exclude", (source[1], [[(n, {key(v) for v in p[1][1][2]}) for n, p in rule.items()] for rule in rules])))
        parts = {name: self.axis(name) for name in axes}
        return {n: p[0] for n, p in parts.items()}, ("product", [p[1] for p in parts.values()])


def shown(cell):
    """A cell as `plan --json` writes it."""
    prompt = cell["prompt"]
    blank = prompt["blank"] if isinstance(prompt, dict) else None
    text = f"<blank:{blank}>" if blank else ("\\" if prompt.startswith("<blank:") else "") + prompt
    return (cell["model"], text, blank, cell["seed"], {k: v for k, v in cell.items() if k not in ("model", "prompt", "seed")})


class PlanTest(Case):
    def test_random_specs_equal_their_expansion(self):
        compared = 0
        for number in range(60):
            writer = Writer(number)
            axes = ["model", "prompt", "seed"] + writer.random.sample(AXES[3:], writer.random.randint(0, 2))
            cells, tree = writer.node(axes, 3)
            expected = expand(tree)
            spec = self.write("spec.yaml", f"version: 1\nname: t\ncells: {yaml(cells)}\n")
            with self.subTest(spec=yaml(cells)):
                if hollow(tree):
                    self.assertIn("leaves no cell", self.cli("plan", spec, code=2)[1])
                    continue
                if len(expected) > 1000:
                    continue
                plan = self.json("plan", spec, "--cells", 1000)
                self.assertEqual(plan["cells"], len(expected))
                self.assertEqual([c["ordinal"] for c in plan["first"]], list(range(len(expected))))
                got = [(c["model"], c["prompt"], c["blank"], c["seed"], c["settings"]) for c in plan["first"]]
                self.assertEqual(got, [shown(cell) for cell in expected])
                same = {}
                for cell in plan["first"]:
                    same.setdefault(cell["fingerprint"], set()).add(key([cell[k] for k in ("model", "prompt", "seed", "settings")]))
                self.assertEqual({len(asked) for asked in same.values()}, {1})
                compared += 1
        self.assertGreater(compared, 30)

    def test_sweeps_nobody_could_expand(self):
        huge = "model: [null], prompt: [a, b, {blank: empty}, {blank: null}], period: 0..9"
        specs = {
            10**9: f"{{{huge}, seed: 0..{10**9 // 40 - 1}}}",
            10**18: f"{{{huge}, seed: 0..{10**18 // 40 - 1}}}",
            # Half of the seeds of one prompt, and one seed of all.
            10**9 - 10 * 12_500_000 - 10 * 3: f"{{exclude: {{from: {{{huge}, seed: 0..24999999}}, rules: [{{prompt: a, seed: 12500000..24999999}}, {{seed: 7, prompt: [b, {{blank: [empty, null]}}]}}]}}}}",
        }
        for count, cells in specs.items():
            spec = self.write("spec.yaml", f"version: 1\nname: t\ncells: {cells}\n")
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([program("promptsweep"), "plan", spec, "--json"], env=environment(), stdout=subprocess.PIPE, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            plan = json.loads(done.stdout)
            self.assertEqual(plan["cells"], count)
            self.assertEqual(plan["last"][-1]["ordinal"], count - 1)
            self.assertLess(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 0.1)
            self.assertLess(after.ru_maxrss, 50_000)


if __name__ == "__main__":
    unittest.main()
