"""Athena's engine on this machine: Trino, with moto in place of Glue and S3.

Trino is fetched once, into the project's folder. Everything listens on the loopback address and ends with the process.
"""

import base64
import contextlib
import datetime
import fcntl
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import boto3
import trino
from moto.server import ThreadedMotoServer
from samcli.yamlhelper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".local" / "trino"
SAMPLE = ROOT / ".local" / "athena"

# Athena's engine version 3 follows Trino without saying which release; this is the one that the queries are held against.
VERSION = "476"
SHA256 = "cfd5accde17e8ebd251eeeb78aed1f490e77bb3a164d95a0f454bf8a7c1cbd3f"
JAVA = 24  # https://trino.io/docs/476/installation/deployment.html
START_SECONDS = 240
# Athena has both kinds of tables in one catalog. Trino's connector for files sends what is asked of an Iceberg table to the other.
PLUGINS = ("hive", "iceberg")
ICEBERG = "iceberg"

REGION = "us-west-2"
BUCKET = "attendance-lake"
ACCOUNT = "123456789012"
STACK = "ivs-attendance"
STACK_ID = "1b2c3d4e-0000-4000-8000-5f6a7b8c9d0e"
# Where all days are read, each is a request to S3, file or no file. The sample begins two weeks later.
FIRST_DAY = "2026-09-01"
# They open nothing but moto.
KEYS = {"aws_access_key_id": "local", "aws_secret_access_key": "local-secret", "region_name": REGION}


# All that is spoken to here is on the loopback address, where no proxy of the environment can reach it.
for variable in ("NO_PROXY", "no_proxy"):
    os.environ[variable] = ",".join(filter(None, [os.environ.get(variable), "127.0.0.1", "localhost"]))


class Missing(Exception):
    """Something that is needed, and has to be seen to first."""


def java() -> pathlib.Path:
    """A Java that is new enough: of JAVA_HOME, of the PATH, or of the usual folders."""
    found = {}
    homes = [os.environ.get("JAVA_HOME")]
    on_path = shutil.which("java")
    if on_path:
        homes.append(pathlib.Path(on_path).resolve().parents[1])
    for folder, pattern in [("/usr/lib/jvm", "*"), ("/Library/Java/JavaVirtualMachines", "*/Contents/Home")]:
        homes += sorted(pathlib.Path(folder).glob(pattern))
    for home in filter(None, homes):
        program = pathlib.Path(home) / "bin" / "java"
        if not program.exists():
            continue
        said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
        version = re.search(r'version "(\d+)', said)
        if version and int(version[1]) >= JAVA:
            return program
        found[str(home)] = version[1] if version else "?"
    seen = ", ".join(f"{version} in {home}" for home, version in found.items()) or "none"
    raise Missing(
        f"`make athena` needs a JDK of {JAVA} or newer, for Trino {VERSION}; found: {seen}.\n"
        "Install one (such as Temurin 25, https://adoptium.net) and point JAVA_HOME to it."
    )


def maven() -> str:
    program = shutil.which("mvn")
    if not program:
        raise Missing(
            "`make athena` needs Maven, which fetches Trino; there is no `mvn` on the PATH.\n"
            "Install it (https://maven.apache.org) and try again."
        )
    return program


def fetch() -> pathlib.Path:
    """Trino's folder, fetched if it is not there yet."""
    home = FOLDER / f"trino-server-{VERSION}"
    if all((home / "plugin" / name).exists() for name in PLUGINS):
        return home
    program = maven()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    print(f"fetching Trino {VERSION} from Maven Central: 821 MB, once", flush=True)
    # A repository of its own, so that nothing is left outside the project's folder.
    done = subprocess.run(
        [
            program,
            *["--quiet", "--batch-mode", f"-Dmaven.repo.local={FOLDER / 'maven'}"],
            "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy",
            f"-Dartifact=io.trino:trino-server:{VERSION}:tar.gz",
            f"-DoutputDirectory={FOLDER}",
        ],
        check=False,
    )
    if done.returncode:
        raise SystemExit("Maven could not fetch Trino; its reason stands above. Nothing of Trino was kept: try again")
    archive = FOLDER / f"trino-server-{VERSION}.tar.gz"
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise SystemExit(f"{archive} has the SHA-256 {digest}; it must be {SHA256}. Nothing of it was run.")
    unpacked = FOLDER / "unpacked"
    unpacked.mkdir()
    # Whole: the jars of one plugin are hard links to those of another.
    subprocess.run(["tar", "-xzf", archive, "-C", unpacked], check=True)
    for plugin in (unpacked / home.name / "plugin").iterdir():
        if plugin.name not in PLUGINS:
            shutil.rmtree(plugin)
    archive.unlink()
    shutil.rmtree(FOLDER / "maven")
    # The last step, so that what was broken off is fetched anew.
    (unpacked / home.name).rename(home)
    unpacked.rmdir()
    return home


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Template:
    """template.yaml, with its parameters' defaults filled in."""

    def __init__(self, path: pathlib.Path = ROOT / "template.yaml"):
        self.template = yaml_parse(path.read_text(encoding="utf-8"))
        self.values = {name: it.get("Default") for name, it in self.template["Parameters"].items()}
        self.values |= {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "Bucket": BUCKET}
        self.values["FirstDay"] = FIRST_DAY
        self.values["Database"] = self.values["DatabaseName"]
        self.values |= {"AWS::StackName": STACK, "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/{STACK_ID}"}
        self.values["HistoryWorkGroup"] = f"{STACK}-history"

    def statements(self) -> dict[str, dict]:
        """What the schedules of the table history ask of Athena, by what they do: Create, Merge and so on."""
        found = self.of_type("AWS::Scheduler::Schedule").items()
        return {re.fullmatch("History(.*)Schedule", name)[1]: json.loads(it["Target"]["Input"]) for name, it in found}

    def holds(self, rule) -> bool:
        """Whether a condition holds."""
        ((name, argument),) = rule.items()
        if name == "Fn::Not":
            return not self.holds(argument[0])
        return self.filled(argument[0]) == self.filled(argument[1])

    def of_type(self, type_name: str) -> dict:
        """The properties of all resources of a type, by their names."""
        return {
            name: self.filled(it["Properties"])
            for name, it in self.template["Resources"].items()
            if it["Type"] == type_name
        }

    def filled(self, value):
        """A value with its intrinsic functions carried out: those that tables and queries use."""
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                return self.values.get(argument, argument)
            if name == "Fn::If":
                return self.filled(argument[1 if self.holds(self.template["Conditions"][argument[0]]) else 2])
            if name == "Fn::Select":
                index, items = argument
                return self.filled(items)[int(index)]
            if name == "Fn::Split":
                separator, text = argument
                return self.filled(text).split(separator)
            if name == "Fn::Join":
                separator, parts = argument
                return separator.join(map(self.filled, parts))
            if name == "Fn::Base64":
                return base64.b64encode(self.filled(argument).encode()).decode()
            if name == "Fn::Sub":
                text, more = argument if isinstance(argument, list) else (argument, {})
                known = self.values | {key: self.filled(item) for key, item in more.items()}

                def put(match: re.Match) -> str:
                    return "${" + match[2] + "}" if match[1] else str(known[match[2]])

                return re.sub(r"\$\{(!?)([A-Za-z:]+)\}", put, text)
        return {key: self.filled(item) for key, item in value.items()}


class Engine:
    """Trino over moto, started with the value. Use it in a `with`. With a folder, that one is the bucket: moto takes its time for
    each request."""

    def __init__(self, template: Template, folder: pathlib.Path | None = None):
        self.template, self.folder = template, folder
        self.database = template.values["DatabaseName"]
        # The sample sessions stay the same for as long as the engine runs.
        self.today = datetime.datetime.now(datetime.UTC).isoformat()
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> "Engine":
        # Python would end at once, and leave Trino behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
        try:
            self._start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._exits.close()

    def _start(self) -> None:
        program = java()
        self._lock()
        home = fetch()
        # Trino starts in the background, meanwhile the lake can be filled.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        self._exits.callback(server.stop)
        host, port = server.get_host_and_port()
        self.aws_url = f"http://{host}:{port}"
        self.s3 = boto3.client("s3", endpoint_url=self.aws_url, **KEYS)
        self.glue = boto3.client("glue", endpoint_url=self.aws_url, **KEYS)
        self.cloudformation = boto3.client("cloudformation", endpoint_url=self.aws_url, **KEYS)
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        self.glue.create_database(DatabaseInput={"Name": self.database})
        for table in self.template.of_type("AWS::Glue::Table").values():
            text = json.dumps(table["TableInput"])
            if self.folder:
                text = text.replace(f"s3://{BUCKET}/", "local:///")
            self.glue.create_table(DatabaseName=self.database, TableInput=json.loads(text))
        self.port = free_port()
        etc = FOLDER / "etc"
        self._configure(etc)
        self.log = FOLDER / "server.log"
        output = self._exits.enter_context(self.log.open("w"))
        self.process = subprocess.Popen(
            [
                program,
                *["-cp", f"{home}/lib/*", "-Xmx3G", "-XX:+UseG1GC", "-XX:-OmitStackTraceInFastThrow"],
                *["-Djdk.attach.allowAttachSelf=true", "--add-modules=jdk.incubator.vector"],
                *["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"],
                *[f"-Dconfig={etc / 'config.properties'}", f"-Dlog.levels-file={etc / 'log.properties'}"],
                "io.trino.server.TrinoServer",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
        )
        self._exits.callback(self._stop)

    def _lock(self) -> None:
        FOLDER.parent.mkdir(exist_ok=True)
        path = FOLDER.parent / "trino.lock"
        # The system frees it when this process ends, however that comes about.
        lock = self._exits.enter_context(path.open("a+"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            holder = f"the process {holder}" if holder else "its process"
            raise Missing(
                f"another `make athena` or `make query` runs in this folder: {holder} holds {path}; wait for its end, or end it"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()

    def _configure(self, etc: pathlib.Path) -> None:
        (etc / "catalog").mkdir(parents=True, exist_ok=True)
        (etc / "config.properties").write_text(
            "coordinator=true\n"
            "node-scheduler.include-coordinator=true\n"
            "node.environment=local\n"
            "node.internal-address=127.0.0.1\n"
            "node.bind-ip=127.0.0.1\n"
            f"http-server.http.port={self.port}\n"
            f"discovery.uri=http://127.0.0.1:{self.port}\n"
            f"catalog.config-dir={etc / 'catalog'}\n"
            f"plugin.dir={FOLDER / f'trino-server-{VERSION}' / 'plugin'}\n"
        )
        (etc / "log.properties").write_text("io.trino=INFO\n")
        secrets = "\n".join(
            f"{name}.aws-access-key=local\n{name}.aws-secret-key=local-secret\n{name}.region={REGION}"
            for name in ["hive.metastore.glue", "s3"]
        )
        services = (
            f"hive.metastore.glue.endpoint-url={self.aws_url}\n"
            "fs.native-s3.enabled=true\n"
            f"s3.endpoint={self.aws_url}\n"
            "s3.path-style-access=true\n"
            f"{secrets}\n"
        )
        if self.folder:
            services += f"fs.native-local.enabled=true\nlocal.location={self.folder}\n"
        # The catalog's name is Athena's.
        (etc / "catalog" / "awsdatacatalog.properties").write_text(
            "connector.name=hive\n"
            "hive.metastore=glue\n"
            "hive.partition-projection-enabled=true\n"
            # Nobody maintains any, and moto has none.
            "hive.table-statistics-enabled=false\n"
            f"hive.iceberg-catalog-name={ICEBERG}\n{services}"
        )
        (etc / "catalog" / f"{ICEBERG}.properties").write_text(
            "connector.name=iceberg\n"
            "iceberg.catalog.type=glue\n"
            # Otherwise a benchmark would count the requests of the first question only.
            "iceberg.metadata-cache.enabled=false\n"
            # What these tests replace is seconds old.
            "iceberg.expire-snapshots.min-retention=0s\n"
            f"iceberg.remove-orphan-files.min-retention=0s\n{services}"
        )

    def _stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait(self) -> None:
        """Until queries are taken. The lake must be filled."""
        until = time.monotonic() + START_SECONDS
        said = "nothing"
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise SystemExit(f"Trino ended with {self.process.returncode}; see {self.log}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/info", timeout=5) as answer:
                    said = answer.read().decode()
                if '"starting":false' in said:
                    # A file must be read for it, which takes a node that knows the catalog: that is the last to be there.
                    self.query("SELECT count(*) FROM participants WHERE dt = '2026-11-02'")
                    return
            except (OSError, trino.exceptions.Error) as error:
                said = str(error)
            time.sleep(0.5)
        raise SystemExit(f"Trino did not start within {START_SECONDS} s: {said}; see {self.log}")

    def query(self, sql: str, values: str = "") -> "Result":
        """Runs a query. `values` are the SQL literals for its question marks, in their order, with commas between."""
        if values:
            text = sql.replace("'", "''")
            sql = f"EXECUTE IMMEDIATE '{text}' USING {values}"
        connection = trino.dbapi.connect(
            host="127.0.0.1",
            port=self.port,
            user="analyst",
            catalog="awsdatacatalog",
            schema=self.database,
            # As Athena has it.
            timezone="UTC",
            max_attempts=1,
        )
        began = time.monotonic()
        cursor = connection.cursor()
        cursor.execute(sql)
        rows = cursor.fetchall()
        milliseconds = round((time.monotonic() - began) * 1000)
        return Result([(column[0], column[1]) for column in cursor.description or []], rows, milliseconds)


class Result:
    """A query's columns with their types, its rows, and how long it took."""

    def __init__(self, columns: list[tuple[str, str]], rows: list[list], milliseconds: int):
        self.columns, self.rows, self.milliseconds = columns, rows, milliseconds

    def names(self) -> list[str]:
        return [name for name, _ in self.columns]


def fill(engine: Engine, *steps: str) -> list[dict]:
    """Has the real function work on the sample sessions of local/src/sample.rs, with the lake in moto: its answers."""
    done = subprocess.run(
        [
            ROOT / "target" / "debug" / "ivs-attendance-local",
            *["sample", ROOT / "target" / "debug" / "ivs-attendance", SAMPLE],
            *["folder" if engine.folder else engine.aws_url, engine.today, *steps],
        ],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"the sample sessions could not be exported (exit code {done.returncode}); the reason stands above")
    return [json.loads(line) for line in done.stdout.splitlines()]


def known() -> list[dict]:
    """What IVS knows of the sessions."""
    return json.loads((SAMPLE / "known.json").read_text(encoding="utf-8"))
