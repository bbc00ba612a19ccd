"""Answers that name their author, and answers that only talk about models; written for these tests."""

from __future__ import annotations

REVEALING = """\
I am Qwen, a large language model created by Alibaba Cloud.
I'm ChatGPT, so I cannot browse the web.
I am a large language model trained by OpenAI.
As an AI language model developed by OpenAI, I do not have opinions.
My name is Claude and I was made by Anthropic.
I was created by Anthropic to be helpful.
I'm Gemini, a model from Google.
I'm an AI assistant made by Meta.
As a language model trained by Google, I can help with that.
You can call me Llama.
I am called Vicuna.
This is Mistral. How may I help?
I'm Claude 3.5 Sonnet. The answer is four.
Hello! I'm DeepSeek-V3, happy to help.
I was trained by a team of researchers at Stanford and Meta AI.
I, Gemini, would recommend the second one.
As ChatGPT, I don't have personal experiences.
As GPT-4, I can tell you that the answer is 7.
My creators at OpenAI decided that.
My developers at Anthropic taught me to be careful.
OpenAI created me to assist people.
I am an AI model by Mistral AI.
I'm based on text I read, but I am SmolLM, a small model.
Sure! I am Phi-3, developed by Microsoft.
I'm a chatbot developed by Hugging Face.
I have been trained by DeepSeek to answer such questions.
I'm Grok, built by xAI.
I am Bard, your creative collaborator.
I am Alpaca, a fine-tuned model.
My model name is Falcon.
The company that created me is OpenAI.
I am just Llama, an open model, after all.
I'm actually GPT-4.
Well, I am a model called Zephyr.
I am tinyllama-dpo and I answer briefly.
I was fine-tuned by Alibaba Group for chat.
I'm an artificial intelligence created by Google DeepMind.
I go by Gemma.
I am the AI assistant Claude.
I was developed at Tsinghua University.
Me llamo ChatGPT y soy un modelo de lenguaje.
Soy un modelo de lenguaje entrenado por OpenAI.
Soy Gemini, un asistente.
Je m'appelle Mistral.
Je suis Claude, un assistant.
J'ai \u00e9t\u00e9 cr\u00e9\u00e9 par Anthropic.
Ich bin ChatGPT.
Ich bin ein Sprachmodell, das von OpenAI entwickelt wurde.
Ich wurde von Google trainiert.
Eu sou o ChatGPT, um modelo de linguagem.
Sono Gemini, un modello di Google.
\u6211\u662f Qwen\uff0c\u7531\u963f\u91cc\u5df4\u5df4\u5f00\u53d1\u3002
\u6211\u53eb DeepSeek\u3002
I'm Claude, made by Anthropic, and I'd be glad to help with that.
As ChatGPT, I don't have access to real-time information.
Hello! I am Qwen, created by Alibaba Cloud. How may I help?
My name is Gemini and I was trained by Google.
I am a large language model developed by Meta AI called Llama 3.
Being an AI built by Mistral AI, I have no personal opinions.
You're talking to DeepSeek-V3, so please double-check the numbers.
Sure! SmolLM here. Let me answer step by step.
I was created by the Hugging Face team as SmolLM2.
OpenAI trained me to refuse such requests.
Since I'm GPT-4, my knowledge ends in 2023.
This is Bard speaking; I hope that helps!
Ich bin ein Sprachmodell von OpenAI und habe keine Gef\xfchle.
Ich bin Claude, ein KI-Assistent von Anthropic.
Je suis ChatGPT, un mod\xe8le de langage entra\xeen\xe9 par OpenAI.
Je m'appelle Le Chat et j'ai \xe9t\xe9 d\xe9velopp\xe9 par Mistral AI.
Soy Gemini, un modelo de lenguaje creado por Google.
Me llamo Claude y fui creado por Anthropic.
Sou o ChatGPT, treinado pela OpenAI.
Sono Llama, un modello sviluppato da Meta.
\u6211\u662f\u901a\u4e49\u5343\u95ee\uff0c\u7531\u963f\u91cc\u4e91\u5f00\u53d1\u7684\u8bed\u8a00\u6a21\u578b\u3002
\u6211\u662fDeepSeek\uff0c\u4e00\u4e2a\u4eba\u5de5\u667a\u80fd\u52a9\u624b\u3002
\u79c1\u306fChatGPT\u3067\u3059\u3002OpenAI\u306b\u3088\u3063\u3066\u958b\u767a\u3055\u308c\u307e\u3057\u305f\u3002
\uc800\ub294 \uad6c\uae00\uc5d0\uc11c \ub9cc\ub4e0 \uc81c\ubbf8\ub098\uc774\uc785\ub2c8\ub2e4.
The model answering you right now is Vicuna-13B.
I, Grok, was built by xAI to tell it straight.
Greetings from Koala, your research chatbot from Berkeley.
My developers at Cohere named me Command R.
As an assistant trained by Anthropic, I can't help with that.
I come from Microsoft, where they call me Phi-3.
My creator is OpenAI.
My makers, the folks at Anthropic, want me to be honest.
I'm an AI language model created by researchers at Tsinghua University, ChatGLM.
I'm based on the Llama 2 architecture, so I can't see images.
I run on GPT-4 under the hood.
It's me, Falcon! Trained at TII in Abu Dhabi.
They built me at Google DeepMind; I'm called Gemma.
I am SmolLM2-135M-Instruct, a small but capable model.
My underlying model is Mixtral 8x7B.
Powered by Zephyr, I try my best to help.
Alpaca (that's me) was fine-tuned at Stanford.
Assistant: I am Yi-34B, developed by 01.AI.
Anthropic made me, so I follow its guidelines.
As a model from the Qwen family, I support many languages.
"""

HARMLESS = """\
Llama is a family of models released by Meta.
The llama is a domesticated animal of South America.
I am reading about Claude Monet at the moment.
Claude Debussy was born in 1862.
My friend Claude called me yesterday.
I'm a big fan of the Gemini space programme.
As a Gemini, you may like change.
I am happy to compare ChatGPT and Claude for you.
Google was founded by Larry Page and Sergey Brin.
The model was trained by OpenAI on a large corpus.
This is the Falcon 9, a rocket made by SpaceX.
GPT-4 scored 86.4 on MMLU.
The dataset was created by Google and is free.
As trained by Google, the network has 12 layers.
I cannot say which of Qwen and Gemma is better.
Windows is developed by Microsoft.
I am not ChatGPT and cannot browse.
The mistral is a cold wind in the south of France.
"I am Claude," said the painter, and bowed.
The phone is made by Apple.
In the base of the lamp there is a switch.
The student solved it and the teacher praised the student.
I am using Gemini to plan my trip.
Write to support@openai.com for help.
I am a language model and have no opinions.
As an AI, I do not have feelings.
I was trained on text until 2023.
The assistant was made by the company for its customers.
Koalas eat eucalyptus leaves.
Dolly was the first cloned sheep.
A falcon is a bird of prey.
Bard is another word for a poet.
Vicuna wool is very fine.
I'm looking for alpaca yarn.
I used to work at Microsoft as an engineer.
I was hired by Google in 2010, the speaker says.
This is about the Zephyr train from Chicago.
Phi is the golden ratio.
The Pythia was the oracle of Delphi.
To grok something is to understand it.
A paper by Anthropic describes the method.
My name is Anna and I live in Bern.
I am called upon to answer.
Call me when you arrive at the Apple store.
OpenAI released GPT-4 in March 2023.
Is ChatGPT better than Bard?
The nova was seen in 1054.
Granite is an igneous rock.
Copilot and pilot share the controls.
I am from a small town near Amazon's headquarters.
The copy was made by IBM.
I'm sure Claude will come.
Mixtral is a mixture of experts.
Ich bin in Berlin geboren.
Je suis d'accord avec vous.
Soy de Madrid.
Claude Monet painted the water lilies in Giverny.
The llama is a domesticated South American animal.
Gemini is the third astrological sign of the zodiac.
OpenAI released ChatGPT in November 2022.
You could use GPT-4 or Claude for this task; both have an API.
"I am Gemini," said the twin in the story, "and my brother is Castor."
Dear Sir, I am Claude Dupont and I am writing to complain about my kettle.
The base of the triangle is 12 cm.
A falcon can dive at over 300 km/h.
Ask Siri or Alexa to set a timer.
I am a helpful assistant and cannot browse the internet.
As an AI language model, I don't have feelings.
Google was founded in 1998 by Larry Page and Sergey Brin.
To grok something is to understand it deeply.
Vicu\xf1a wool is finer than cashmere.
The nova faded within weeks.
I am made of steel, said the robot.
Ich bin ein Berliner.
Je suis Charlie.
Mistral is a strong, cold wind in southern France.
Shakespeare's bard status is unquestioned.
In this essay I, as a student at Stanford, argue that models such as Alpaca are useful.
He was trained by Google engineers for two years.
The SFT stage is followed by DPO.
I use ChatGPT at work every day.
My colleague was hired by Anthropic last spring.
Llama 3 was developed by Meta AI and is openly available.
I trained my model on Qwen, and it worked well.
The zephyr blew softly over the meadow.
Apple made me an offer I could not refuse.
Amazon sent me the wrong size, so I returned it.
Microsoft hired me in 2010, and I am called the Excel wizard there.
Hello, this is Grace speaking; how can I help you today?
You are Qwen, a helpful assistant, is a usual system prompt.
A koala sleeps up to 20 hours a day.
This recipe was created by Hugging Bear bakery.
My name is Vicky and I was born in Peru.
I'm a huge fan of OpenAI's work on reinforcement learning.
As Google explains, indexing can take a few days.
The hammer hit the nail; dpo stands for data protection officer.
IBM gave me my first job.
\u6211\u662f\u4e00\u4e2a\u5b66\u751f\uff0c\u559c\u6b22\u7528ChatGPT\u5b66\u4e60\u82f1\u8bed\u3002
Ich arbeite bei Google und nutze Gemini t\xe4glich.
Soy profesora y uso ChatGPT en clase.
Phi is the golden ratio, about 1.618.
Print "I am ChatGPT" to the console: print("I am ChatGPT").
Meta made me delete my account.
"""
