"""What a Podman 4.3.1 said, cut to the containers that matter."""

from __future__ import annotations

import json
from typing import Any

EXITED = json.loads("""\
{"AutoRemove":false,"Command":["sleep","1000"],"Created":"2026-11-21T06:39:32.156067141Z",
"CreatedAt":"","Exited":true,"ExitedAt":1795243173,"ExitCode":137,
"Id":"2b716a94d34f5b2b389b689496a044c75605551803b8a29ad7d56640f1117df1",
"Image":"localhost/busybox:1",
"ImageID":"61238677967dde11ff1a5962441264844d5cdc2b3930cb6557e92492c81a7ca3","IsInfra":false,
"Labels":{"k":"v","uni":"ünïcødé ☃"},"Mounts":[],"Names":["a"],"Namespaces":{},"Networks":[],
"Pid":0,"Pod":"","PodName":"","Ports":null,"Size":null,"StartedAt":1795243173,"State":"exited",
"Status":"starting"}""")

RUNNING = json.loads("""\
{"AutoRemove":false,"Command":["sleep","1000"],"Created":"2026-11-21T06:39:35.875436831Z",
"CreatedAt":"","Exited":false,"ExitedAt":-62135596800,"ExitCode":0,
"Id":"24853b26fb9201fc27b85abf55e1eb02382e48033093beb12d644f2b401eced8",
"Image":"localhost/busybox:1",
"ImageID":"61238677967dde11ff1a5962441264844d5cdc2b3930cb6557e92492c81a7ca3","IsInfra":false,
"Labels":null,"Mounts":[],"Names":["c"],"Namespaces":{},"Networks":[],"Pid":5601,
"Pod":"21252d404d576ea0074d584b0c5f7e5f2fddc88e539e4adf6adeec14b4890c98","PodName":"pp",
"Ports":null,"Size":null,"StartedAt":1795243175,"State":"running","Status":""}""")

CREATED = json.loads("""\
{"AutoRemove":false,"Command":["true"],"Created":"2026-11-21T06:39:35.964863627Z","CreatedAt":"",
"Exited":false,"ExitedAt":-62135596800,"ExitCode":0,
"Id":"1824ea757adb1946a050f6f0b8b6fc59f8d1179655dcfbbd79e2ef12304c9525",
"Image":"localhost/busybox:1",
"ImageID":"61238677967dde11ff1a5962441264844d5cdc2b3930cb6557e92492c81a7ca3","IsInfra":false,
"Labels":null,"Mounts":[],"Names":["d"],"Namespaces":{},"Networks":["podman"],"Pid":0,"Pod":"",
"PodName":"","Ports":null,"Size":null,"StartedAt":-62135596800,"State":"created","Status":""}""")

LIST = [EXITED, RUNNING, CREATED]

# Of a server that had sent 5 MB to a client, of that client, and of a container that had ended.
STATS = json.loads("""\
{"Error":null,"Stats":[
{"AvgCPU":1.9110338208731843,"ContainerID":"aaaa","Name":"server","PerCPU":[20996397,4300381],
"CPU":1.9110338208731843,"CPUNano":25296778,"CPUSystemNano":7951517,
"SystemNano":1795243177261387263,"MemUsage":700416,"MemLimit":25276502016,
"MemPerc":0.002771016335870515,"NetInput":5250305,"NetOutput":5359,"BlockInput":0,
"BlockOutput":0,"PIDs":1,"UpTime":25296778,"Duration":25296778},
{"AvgCPU":98.87494148611435,"ContainerID":"bbbb","Name":"client",
"PerCPU":[5024538338,264081211],"CPU":98.87494148611435,"CPUNano":5288619549,
"CPUSystemNano":64000000,"SystemNano":1795244364356291566,"MemUsage":364544,
"MemLimit":25276502016,"MemPerc":0.001442224876564186,"NetInput":4139,"NetOutput":5250845,
"BlockInput":0,"BlockOutput":0,"PIDs":1,"UpTime":5288619549,"Duration":5288619549},
{"AvgCPU":0,"ContainerID":"cccc","Name":"ended","PerCPU":null,"CPU":0,"CPUNano":0,
"CPUSystemNano":0,"SystemNano":0,"MemUsage":0,"MemLimit":0,"MemPerc":0,"NetInput":0,
"NetOutput":0,"BlockInput":0,"BlockOutput":0,"PIDs":0,"UpTime":0,"Duration":0}]}""")

EVENT = json.loads("""\
{"status":"died","id":"bc1a6c6b0075","from":"localhost/busybox:1","Type":"container",
"Action":"died","Actor":{"ID":"bc1a6c6b0075","Attributes":{"containerExitCode":"7",
"image":"localhost/busybox:1","name":"b2","podId":""}},"scope":"local","time":1795243173,
"timeNano":1795243173282000000}""")

HEALTH_EVENT = json.loads("""\
{"status":"health_status","id":"2b716a94d34f","from":"localhost/busybox:1","Type":"container",
"Action":"health_status","Actor":{"ID":"2b716a94d34f","Attributes":{"containerExitCode":"0",
"image":"localhost/busybox:1","name":"a","podId":""}},"scope":"local","time":1795243172,
"timeNano":1795243172491440232,"HealthStatus":"starting"}""")

BROKEN_LOG = (
    b'{"cause":"invalid character \'g\' looking for beginning of value","message":"invalid'
    b' character \'g\' looking for beginning of value","response":500}\n'
)

INSPECT: dict[str, Any] = {"Id": EXITED["Id"], "State": {"ExitCode": 137}, "RestartCount": 3}


def dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
