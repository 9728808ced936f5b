"""Proves that the manifests satisfy the published Kubernetes schemas, strictly. Exits 77 (skipped) without the validator.

PROMPTSWEEP_KUBERNETES_VALIDATE names the folder that holds the Python package kubernetes-validate.
"""
import os
import pathlib
import sys

tool = os.environ.get("PROMPTSWEEP_KUBERNETES_VALIDATE")
if tool:
    sys.path.insert(0, tool)
try:
    import kubernetes_validate
    import yaml
except ImportError as error:
    print(f"skipped: kubernetes-validate is not there ({error})")
    sys.exit(77)

VERSION = "1.34"
failed = checked = 0
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.yaml")):
    for document in yaml.safe_load_all(path.read_text()):
        checked += 1
        try:
            kubernetes_validate.validate(document, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            failed += 1
            print(f"{path.name}: {document['kind']} {document['metadata']['name']}: {error.message}")

# The validator must have teeth: a misspelt field is refused.
try:
    kubernetes_validate.validate({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"portz": []}}, VERSION, strict=True)
    failed += 1
    print("a misspelt field was accepted")
except kubernetes_validate.ValidationError:
    pass

print(f"{checked} documents checked, {failed} problems")
sys.exit(1 if failed or checked < 8 else 0)
