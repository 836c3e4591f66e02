"""Documents that say what the cluster is to run → `core.workloads.workload`.

Three families come in: the native `Workload`, the part of Kubernetes' `Pod` and `Deployment` that
Podman understands, and Pullpiri's `Scenario`, `Package` and `Model`. `loading` finds the texts,
`kinds` knows which model belongs to a document, `reading` puts all together. Whatever comes in,
the answer is workloads and actions, or problems with file, line and remedy.
"""
