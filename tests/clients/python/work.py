"""A while of real work through the official Python client.

Several threads create, update and delete config maps of their own; a watch that is resumed by revision must be told of
each change once and in order, also when the server is killed meanwhile. It ends with code 1 and the reasons if not.
"""

import argparse
import threading
import time

import urllib3
from kubernetes import client, config, watch

WRITERS = 4
LIFETIME = 6  # versions of an object until it is deleted and made again
PATIENCE = 30
LOST = (client.ApiException, urllib3.exceptions.HTTPError, OSError)


class Writer(threading.Thread):
    """Makes each change exactly once, also when the answer to it was lost."""

    def __init__(self, api, namespace, number, deadline):
        super().__init__()
        self.api, self.namespace, self.deadline = api, namespace, deadline
        self.name, self.changes, self.error = f"item-{number}", 0, None

    def run(self):
        try:
            life = 1
            while True:
                for version in range(1, LIFETIME + 1):
                    self.surely(lambda: self.write(life, version), lambda: self.marks() == (life, version))
                if time.monotonic() > self.deadline:
                    return
                self.surely(lambda: self.api.delete_namespaced_config_map(self.name, self.namespace), lambda: self.marks() is None)
                life += 1
        except Exception as error:  # told by the main thread
            self.error = f"{self.name}: {error}"

    def write(self, life, version):
        data = {"life": str(life), "version": str(version)}
        body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=self.name), data=data)
        if version == 1:
            self.api.create_namespaced_config_map(self.namespace, body)
        elif version % 2:
            self.api.patch_namespaced_config_map(self.name, self.namespace, {"data": data})
        else:
            current = self.api.read_namespaced_config_map(self.name, self.namespace)
            current.data = data
            self.api.replace_namespaced_config_map(self.name, self.namespace, current)

    def marks(self):
        try:
            return marks(self.api.read_namespaced_config_map(self.name, self.namespace))
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise

    def surely(self, change, made):
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                change()
                break
            except LOST:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)
                try:
                    if made():
                        break
                except LOST:
                    pass
        self.changes += 1
        time.sleep(0.02)


def marks(item):
    return int(item.data["life"]), int(item.data["version"])


class Follower(threading.Thread):
    """Watches from a revision on, and resumes behind the last event when the connection breaks."""

    def __init__(self, api, namespace, revision):
        super().__init__(daemon=True)
        self.api, self.namespace, self.revision = api, namespace, revision
        self.told, self.errors, self.last = 0, [], {}

    def run(self):
        while True:
            try:
                stream = watch.Watch().stream(
                    self.api.list_namespaced_config_map,
                    self.namespace,
                    resource_version=self.revision,
                    allow_watch_bookmarks=True,
                    timeout_seconds=20,
                )
                for event in stream:
                    self.next(event["type"], event["object"])
            except client.ApiException as error:
                if error.status == 410:
                    self.errors.append(f"the watch at {self.revision} was told 410: {error}")
                    return
                time.sleep(0.1)
            except (urllib3.exceptions.HTTPError, OSError):
                time.sleep(0.1)

    def next(self, kind, item):
        if kind == "BOOKMARK":
            # The client hands bookmarks over as they came.
            self.revision = item["metadata"]["resourceVersion"] if isinstance(item, dict) else item.metadata.resource_version
            return
        self.revision = item.metadata.resource_version
        name = item.metadata.name
        if not name.startswith("item-"):
            return
        life, version = marks(item)
        was_life, was_version = self.last.get(name, (0, LIFETIME))
        fits = {
            "ADDED": (life, version) == (was_life + 1, 1) and was_version == LIFETIME,
            "MODIFIED": (life, version) == (was_life, was_version + 1),
            "DELETED": (life, version) == (was_life, was_version) and version == LIFETIME,
        }
        if not fits.get(kind, False):
            self.errors.append(f"{kind} {name}: version {version} of life {life} after version {was_version} of life {was_life}")
        self.last[name] = (life, version)
        self.told += 1


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kubeconfig")
    arguments.add_argument("--namespace", default="default")
    arguments.add_argument("--seconds", type=int, default=60)
    arguments = arguments.parse_args()
    config.load_kube_config(arguments.kubeconfig)
    api = client.CoreV1Api()
    start = api.list_namespaced_config_map(arguments.namespace).metadata.resource_version
    follower = Follower(client.CoreV1Api(client.ApiClient()), arguments.namespace, start)
    follower.start()
    deadline = time.monotonic() + arguments.seconds
    writers = [Writer(client.CoreV1Api(client.ApiClient()), arguments.namespace, n, deadline) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    changes = sum(writer.changes for writer in writers)
    give_up = time.monotonic() + PATIENCE
    while follower.told < changes and not follower.errors and time.monotonic() < give_up:
        time.sleep(0.05)
    errors = [writer.error for writer in writers if writer.error] + follower.errors[:10]
    if follower.told != changes:
        errors.append(f"{changes} changes were made, {follower.told} were told")
    if errors:
        raise SystemExit("FAILED: " + "\n".join(errors))
    print(f"python: {changes} changes, each told once and in order")


if __name__ == "__main__":
    main()
