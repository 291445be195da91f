# The demo on a CPU, or on a GPU with `docker run --gpus all`:
#   docker build -t crnas_d2 .
#   docker run -v "$PWD/output:/crnas_d2/output" crnas_d2
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /crnas_d2
COPY . .
RUN make env
CMD ["make", "demo"]
