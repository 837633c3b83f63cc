# Antiphon's command line: coordinator, agents and the tools around them. compose.yaml shows it at work.
FROM python:3.11-slim AS build
COPY . /src
RUN python -m venv /opt/antiphon \
    && /opt/antiphon/bin/pip install --no-cache-dir --constraint /src/constraints.txt /src

FROM python:3.11-slim
COPY --from=build /opt/antiphon /opt/antiphon
ENV PATH=/opt/antiphon/bin:$PATH PYTHONUNBUFFERED=1
# a volume that is first mounted on one of these folders gets its owner
RUN useradd --uid 1000 --create-home antiphon \
    && install -d -o antiphon -g antiphon /federation /federation/broker /agents/one /agents/two
USER antiphon
WORKDIR /home/antiphon
ENTRYPOINT ["antiphon"]
